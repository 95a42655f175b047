"""`python -m evals COMMAND key=value ...`: first word -> command. The only file that imports hydra or omegaconf.

Hydra composes plain data, pydantic validates it once against the command's settings, a plain function does the
work. Everything the user can get wrong is one line on stderr and exit code 2.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evals import catalog
from evals.commands.settings import COMMANDS, described, unknown_key, validated
from evals.errors import BudgetReached, ConfigError, EvalsError, Stopped, UserError

FLAGS = {"-m", "--multirun", "--info", "-c", "--cfg", "-p", "--package", "--resolve"}
WITH_VALUE = {"-c", "--cfg", "-p", "--package", "--info"}
PATHS = ("path", "predictions", "rescore", "out", "file", "table", "runs", "baseline", "candidate", "gates")
"""Last words of keys whose values are paths: quoted whole, whatever they hold."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 fine, 1 gate, 2 user's mistake, 4 infrastructure, 130 stopped."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "-sc" in words or "--shell-completion" in words:
        from evals.completion import complete

        return int(complete(words))
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    try:
        return _command(words[0], words[1:])
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 130
    except UserError as error:
        print(f"evals: {one_line(error)}", file=sys.stderr)
        return 2
    except BudgetReached as error:
        print(f"evals: {one_line(error)}", file=sys.stderr)
        return 1
    except EvalsError as error:
        print(f"evals: {one_line(error)}", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _command(word: str, rest: list[str]) -> int:
    if word not in COMMANDS:
        raise ConfigError(f"{word!r} is no command{catalog.nearest(word, COMMANDS)}")
    if "--help" in rest or "-h" in rest:
        print(help_of(word))
        return 0
    codes: list[int] = []
    finished: list[dict[str, Any]] = []
    _through_hydra(word, ordered(rest), lambda plain: codes.append(_job(word, plain, rest, finished)))
    _after_sweep(finished)
    return max(codes, default=0)


def one_line(error: BaseException) -> str:
    """An error's text without line breaks."""
    return " ".join(str(error).split())


# Hydra --------------------------------------------------------------------------------------------------------


def _through_hydra(word: str, rest: list[str], work: Callable[[dict[str, Any]], Any]) -> None:
    """Compose the command's configuration, once or once a job, and hand it on as plain data."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from evals.completion import search_nearest

    search_nearest()
    failed: list[EvalsError] = []

    def entry(config: DictConfig) -> None:
        if any(isinstance(error, Stopped) for error in failed):
            return  # the jobs of a sweep that are left
        try:
            work(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
        except EvalsError as error:  # kept for below: Hydra would print a line of its own
            failed.append(error)

    before, sys.argv = sys.argv, [sys.argv[0], *(quoted(a, sweep=bool({"-m", "--multirun"} & set(rest))) for a in rest)]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(catalog.shipped() / "configs"), config_name=word)(entry)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explained(word, error)) from None
    except SystemExit as end:
        if end.code not in (0, None):
            raise ConfigError("the command line could not be read; see --help") from None
    finally:
        sys.argv = before
    if failed:
        raise failed[0]


def ordered(rest: Sequence[str]) -> list[str]:
    """Hydra's own flags first: between overrides they would be an error of its parser."""
    flags: list[str] = []
    words: list[str] = []
    take = False
    for word in rest:
        if take or word in FLAGS:
            flags.append(word)
            take = word in WITH_VALUE and not take
        elif word.startswith("-"):
            raise ConfigError(
                f"{word} is no flag here; settings are key=value, Hydra's flags are {' '.join(sorted(FLAGS))}"
            )
        elif "=" not in word and not word.startswith("~"):
            raise ConfigError(f"{word!r} is no key=value; did you mean KEY={word}?")
        else:
            words.append(word)
    return flags + words


def quoted(word: str, *, sweep: bool) -> str:
    """The word with its value quoted where Hydra's grammar would refuse or misread it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = word.partition("=")
    if not equals or not value or value[0] in "'\"":
        return word
    is_path = key.rsplit(".", 1)[-1] in PATHS and value != "null"
    if not (is_path and not (sweep and "," in value)):
        try:
            OverridesParser.create().parse_override(word)
            return word
        except HydraException:
            pass
    escaped = value.replace("\\'", "\\\\'").replace("'", "\\'")
    escaped += "\\" if escaped.endswith("\\") else ""
    return f"{key}='{escaped}'"


def explained(word: str, error: Exception) -> str:
    """Hydra's own message as one line with the nearest names."""
    import re

    text = one_line(error)
    if found := re.search(r"Could not override '([^']+)'", text):
        return unknown_key(word, found[1])
    if found := re.search(r"Could not find '([\w-]+)/([^']+)'", text):
        return f"{found[1]}={found[2]} is not known{catalog.nearest(found[2], catalog.options(found[1]))}"
    if found := re.search(r"Key '([^']+)' is not in struct", text):
        return unknown_key(word, found[1])
    if "sweep" in text.lower() and "multirun" in text.lower():
        return f"{text.split('.')[0]}; a list of options needs -m: python -m evals {word} -m ..."
    return text[:400]


# Jobs ---------------------------------------------------------------------------------------------------------


def _job(word: str, plain: dict[str, Any], rest: Sequence[str], finished: list[dict[str, Any]]) -> int:
    """One job: here, or with `-m` in a process of its own, so that memory and latency are clean."""
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.get().mode is None or HydraConfig.get().mode.name != "MULTIRUN":
        return perform(word, plain, launcher(word, rest))
    import multiprocessing

    overrides = list(HydraConfig.get().overrides.task)
    pipe, child = multiprocessing.get_context("spawn").Pipe()
    arguments = (word, plain, launcher(word, overrides), child)
    process = multiprocessing.get_context("spawn").Process(target=_isolated, args=arguments)
    process.start()
    child.close()
    with _passed_on(process):
        try:
            summary = pipe.recv()
            if summary:
                finished.append(summary)
        except EOFError:
            pass
        process.join()
    if process.exitcode == 130:
        raise Stopped(f"the sweep is stopped; go on with: {launcher(word, rest)}")
    return process.exitcode if process.exitcode and process.exitcode > 0 else 4 if process.exitcode else 0


@contextlib.contextmanager
def _passed_on(process: Any) -> Iterator[None]:
    """Ctrl-C is for the job alone, which keeps its records and says how to go on; we end when it has ended."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *_: os.kill(process.pid, signal.SIGINT) if process.is_alive() else None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _isolated(word: str, plain: dict[str, Any], command: str, pipe: Any) -> None:
    """The body of a job's own process: a group of its own, since a terminal's Ctrl-C reaches every process of one."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    try:
        code = perform(word, plain, command, tell=pipe.send)
    except UserError as error:
        print(f"evals: {one_line(error)}", file=sys.stderr)
        code = 2
    except BudgetReached as error:
        print(f"evals: {one_line(error)}", file=sys.stderr)
        code = 1
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        code = 130
    raise SystemExit(code)


def launcher(word: str, rest: Sequence[str]) -> str:
    """The command that does this again."""
    import shlex

    return shlex.join(["python", "-m", "evals", word, *rest])


def perform(word: str, plain: Mapping[str, Any], command: str, tell: Callable[[Any], None] | None = None) -> int:
    """Validate the plain data and do the work; `tell` gets the summary of a finished run."""
    settings = validated(word, plain)
    if word == "run":
        from evals.commands.run import run

        return _show(run(settings, launcher=command), tell)
    if word == "score":
        from evals.commands.score import score

        return _show(score(settings, launcher=command), tell)
    if word == "frontier":
        return _frontier(settings)
    if word in ("compare", "history"):
        return _compare(settings) if word == "compare" else _history(settings)
    if word == "models":
        return _models(settings)
    return _tasks(settings)


def _show(finished: Any, tell: Callable[[Any], None] | None) -> int:
    from evals.report import console

    print(console.results([finished.summary]))
    print(f"\n{finished.folder}")
    if tell:
        tell(finished.summary)
    return int(finished.exit_code)


def _after_sweep(summaries: Sequence[dict[str, Any]]) -> None:
    if len(summaries) > 1:
        from evals.report import console

        print("\n" + console.results(summaries))


def _models(settings: Any) -> int:
    from evals.commands import models
    from evals.report import files

    known = models.cards()
    if settings.fetch:
        print(models.fetch_model(known, settings.fetch, settings.quant, settings.source))
        return 0
    rows = models.list_models(known)
    if settings.out:
        files.write_table(Path(settings.out), "models", rows)
    print(models.render(rows))
    return 0


def _frontier(settings: Any) -> int:
    from evals.commands.frontier import frontier

    print(frontier(settings))
    if settings.out:
        print(f"\n{settings.out}: frontier.csv, .json, .png, .html")
    return 0


def _compare(settings: Any) -> int:
    from evals.commands import compare

    if settings.save:
        print(f"{compare.save(settings)} is the reference now")
        return 0
    found = compare.compare(settings)
    print(found)
    return found.exit_code


def _history(settings: Any) -> int:
    from evals.commands.history import history

    print(history(settings))
    return 0


def _tasks(settings: Any) -> int:
    from evals.commands.tasks import list_tasks
    from evals.report import console, files

    rows = list_tasks()
    if settings.out:
        files.write_table(Path(settings.out), "tasks", rows)
    print(console.rows("tasks", list(rows[0]) if rows else ["task"], [list(row.values()) for row in rows]))
    return 0


# Help ---------------------------------------------------------------------------------------------------------


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
        choices = catalog.options(key) if type_ == "group" or key == "experiment" else {}
        if choices:
            lines += ["", f"  {key}= {', '.join(choices)}"]
    flags = "-m (each combination of a,b lists, one process a job)   --cfg job (print the configuration)"
    return "\n".join([*lines, "", f"  Hydra: {flags}"])
