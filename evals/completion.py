"""Tab completion of the console script: `eval "$(evals -sc install=bash)"`.

Hydra completes overrides, but knows nothing of the command word in front of them: it is taken out of the line before
Hydra sees it, and completed here while it is being typed.
"""

import os
from collections.abc import Sequence

from evals import catalog
from evals.commands.settings import COMMANDS


def complete(words: Sequence[str]) -> int:
    """Answer the shell: install or uninstall the hook, or print the completions of `$COMP_LINE`."""
    query = next((word for word in words if "=" in word and not word.startswith("-")), "")
    if not query.startswith("query="):
        return _hydra("run", ["-sc", query or "install=bash"])
    line = os.environ.get("COMP_LINE", "")
    parts = line.split()
    if len(parts) <= 1 or (len(parts) == 2 and not line.endswith(" ")):
        typed = parts[1] if len(parts) == 2 else ""
        print(" ".join(word for word in COMMANDS if word.startswith(typed)))
        return 0
    if parts[1] not in COMMANDS:
        return 0
    shortened = line.replace(f" {parts[1]}", "", 1)
    os.environ["COMP_LINE"] = shortened
    os.environ["COMP_POINT"] = str(len(shortened))
    return _hydra(parts[1], ["-sc", query])


def _hydra(command: str, arguments: list[str]) -> int:
    import sys

    import hydra

    sys.argv = [sys.argv[0], *arguments]
    folder = str(catalog.shipped() / "configs")
    hydra.main(version_base="1.3", config_path=folder, config_name=command)(lambda config: None)()
    return 0
