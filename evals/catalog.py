"""Names -> YAML and task folders, without Hydra.

Looked for in the current folder, then in the folders of `$EVALS_PATH`, then in the copies that come with the
package; the first hit wins, so a user's own `configs/model/mine.yaml` or `tasks/mine/` needs no installation.
"""

import difflib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from evals.errors import ConfigError


def shipped() -> Path:
    """The folder whose `tasks/` and `configs/` came with the package (the repository, in an editable install)."""
    package = Path(__file__).resolve().parent
    return package / "data" if (package / "data").is_dir() else package.parent


def roots() -> list[Path]:
    """Folders that may hold `tasks/` and `configs/`, nearest first."""
    extra = [Path(part) for part in os.environ.get("EVALS_PATH", "").split(os.pathsep) if part]
    found: list[Path] = []
    for root in [Path.cwd(), *extra, shipped()]:
        if root.resolve() not in found:
            found.append(root.resolve())
    return found


def config_folders() -> list[Path]:
    """Every `configs/` folder that is there, nearest first."""
    return [root / "configs" for root in roots() if (root / "configs").is_dir()]


def options(group: str) -> dict[str, Path]:
    """Option name -> YAML file of one config group, such as `model`."""
    found: dict[str, Path] = {}
    for folder in config_folders():
        for path in sorted((folder / group).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def option(group: str, name: str) -> dict[str, Any]:
    """The YAML of one option as plain data; an unknown name raises `ConfigError` with the nearest ones."""
    known = options(group)
    if name not in known:
        raise ConfigError(f"{group}={name} is not known{nearest(name, known)}")
    return dict(load_yaml(known[name]))


def task_folder(name: str) -> Path:
    """The folder of a task; an unknown name raises `ConfigError` with the nearest ones."""
    for root in roots():
        if (root / "tasks" / name / "task.py").is_file():
            return root / "tasks" / name
    raise ConfigError(f"no folder tasks/{name} with a task.py is in reach{nearest(name, task_names())}")


def task_names() -> list[str]:
    """Every task in reach."""
    return sorted({path.parent.name for root in roots() for path in (root / "tasks").glob("*/task.py")})


@cache
def _parsed(path: Path, _stamp: float) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = f":{error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""  # type: ignore[union-attr]
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{path}{where} is no valid YAML: {reason}") from error


def load_yaml(path: Path) -> Mapping[str, Any]:
    """A YAML mapping as plain data. Callers must not change it."""
    value = _parsed(path, path.stat().st_mtime)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path} should hold `key: value` pairs, it holds {type(value).__name__}")
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean a, b?`, or the whole list where nothing is near. To be put behind an error."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {', '.join(close)}?"
    return f"; known are {', '.join(names)}" if names else ""
