"""`--help`: the commands, and every key of one, from its settings."""

from evals import catalog
from evals.commands.settings.run import COMMANDS, described


def overview() -> str:
    """The commands, a line each."""
    lines = ["python -m evals COMMAND key=value ...", ""]
    lines += [f"  {word:8} {(kind.__doc__ or '').splitlines()[0]}" for word, kind in COMMANDS.items()]
    lines += ["", "  python -m evals run task=legal_extract model=smollm2_135m limit=20"]
    lines += ["  python -m evals run -m task=legal_extract model=rules,smollm2_135m", ""]
    return "\n".join([*lines, "python -m evals COMMAND --help lists every key of a command."])


def help_of(word: str) -> str:
    """Every key of a command with type, default and one line, and the choices of its groups."""
    kind = COMMANDS[word]
    rows = described(kind)
    width = max(len(row[0]) for row in rows)
    lines = [f"python -m evals {word} key=value ...", "", f"  {(kind.__doc__ or '').strip()}", ""]
    for key, type_, default, text in rows:
        lines.append(f"  {key:{width}}  {type_:14} {default:12} {text}")
    for key, type_, _, _ in rows:
        choices = catalog.options(key) if "group" in type_ or key == "experiment" else {}
        if choices:
            lines += ["", f"  {key}= {', '.join(choices)}"]
    flags = "-m (each combination of a,b lists, one process a job)   --cfg job (print the configuration)"
    return "\n".join([*lines, "", f"  Hydra: {flags}"])
