"""Tab completion of the console script: `eval "$(evals -sc install=bash)"`.

Hydra completes overrides, but knows nothing of the command word in front of them: it is taken out of the line before
Hydra sees it, and completed here while it is being typed.
"""

import contextlib
import os
import sys
from collections.abc import Sequence

from evals import catalog
from evals.commands.settings.run import COMMANDS
from evals.commands.sides import ANSWERING, KEYS


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
    key, equals, typed = parts[-1].partition("=")
    if equals and key in KEYS and parts[1] in ANSWERING and not line.endswith(" "):
        print(" ".join(f"{key}={name}" for name in catalog.options("model") if name.startswith(typed)))
        return 0
    shortened = _without_flags(line.replace(f" {parts[1]}", "", 1))
    os.environ["COMP_LINE"] = shortened
    os.environ["COMP_POINT"] = str(len(shortened))
    return _hydra(parts[1], ["-sc", query])


def _without_flags(line: str) -> str:
    """The line without `-m` and its like, which Hydra's completion does not read; the space at its end stays."""
    kept = [word for word in line.split() if not word.startswith("-")]
    return " ".join(kept) + (" " if line.endswith(" ") else "")


def _hydra(command: str, arguments: list[str]) -> int:
    """Hydra's answer. What it cannot complete it answers with nothing: no word of it may reach the prompt."""
    import hydra

    search_nearest()
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [sys.argv[0], *arguments]
    folder = str(catalog.shipped() / "configs")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        with contextlib.suppress(Exception, SystemExit):
            hydra.main(version_base="1.3", config_path=folder, config_name=command)(lambda config: None)()
    return 0


def search_nearest() -> None:
    """The user's own configs/ folders come before the shipped one, in Hydra too."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class Nearest(SearchPathPlugin):  # type: ignore[misc]
        """What Hydra asks where to look."""

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for folder in reversed(catalog.config_folders()):
                if folder != catalog.shipped() / "configs":
                    search_path.prepend("evals", f"file://{folder}")

    if all(kind.__name__ != "Nearest" for kind in Plugins.instance().discover(SearchPathPlugin)):
        Plugins.instance().register(Nearest)
