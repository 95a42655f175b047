"""What `import` takes."""

from dataclasses import dataclass, field
from typing import Annotated, Any

FORBID = {"extra": "forbid"}
Options = dict[str, Any]
Names = list[str]


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """Other harnesses' logs become runs: Inspect (.eval, .json), lm-evaluation-harness (samples_*.jsonl), promptfoo."""

    __pydantic_config__ = FORBID
    file: Annotated[str | Names | None, "FILE, FILE,FILE, a folder or a glob; a results_*.json beside is read too"] = (
        None
    )
    task: Annotated[Any, "the task's name in results/; null: the log's own"] = None
    model: Annotated[Any, "the model's name; null: the log's own"] = None
    option: Annotated[str | None, "the option's name, of one log; null: the model's"] = None
    metric: Annotated[str | None, "which metric is the main score; null: the log's first of which more is better"] = (
        None
    )
    filter: Annotated[str | None, "which filter of lm-evaluation-harness; null: the file's first"] = None
    split: Annotated[str, "under which split the runs are filed"] = "test"
    price: Annotated[
        Options, "dollars where the log has tokens: price.input_usd_per_mtok=2.5 .output_usd_per_mtok .date .source"
    ] = field(default_factory=dict)
    again: Annotated[bool, "import a file once more that is here already"] = False
    out: Annotated[str | None, "folder that also gets import.csv and import.json"] = None

    def __post_init__(self) -> None:
        if not self.file:
            raise ValueError("file=FILE names the log: an Inspect, lm-evaluation-harness or promptfoo file")


def plain_name(given: Any) -> str | None:
    """A name that was given as text, or by the command line as `{name: ...}`."""
    found = given.get("name") if isinstance(given, dict) else given
    return None if found is None else str(found)
