"""Who may be shown a document. Pure.

`public` documents may go anywhere; `internal` ones only where the model's YAML says `terms: accepted`; `restricted`
ones only to a model of one's own (`location: own`).
"""

from evals.core import DataClass


def forbidden(data_class: DataClass, *, location: str | None, terms: str | None) -> str | None:
    """Why a document of this class may not go to this model, in one line; `None` where it may."""
    if location == "own" or data_class == "public":
        return None
    if data_class == "restricted":
        return "the document is restricted: only a model with location: own may see it"
    if terms == "accepted":
        return None
    return "the document is internal: say model.terms=accepted where your contract with the provider covers it"
