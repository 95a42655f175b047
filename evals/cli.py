"""`python -m evals COMMAND key=value ...`: first word -> command. The only file that imports hydra or omegaconf.

Hydra composes plain data, pydantic validates it once against the command's settings, a plain function does the
work. Everything the user can get wrong is one line on stderr and exit code 2.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from evals import catalog
from evals.commands import dispatch, helping
from evals.commands.settings.run import COMMANDS, unknown_key, validated
from evals.commands.stored import translated
from evals.errors import BudgetReached, ConfigError, EvalsError, Stopped, UserError

FLAGS = {"-m", "--multirun", "--info", "-c", "--cfg", "-p", "--package", "--resolve"}
WITH_VALUE = {"-c", "--cfg", "-p", "--package", "--info"}
PATHS = (
    *("path", "predictions", "rescore", "out", "file", "table", "runs", "baseline", "candidate", "gates"),
    *("policy", "run", "verdicts"),
)
"""Last words of keys whose values are paths: quoted whole, whatever they hold."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 fine, 1 gate, 2 user's mistake, 4 infrastructure, 130 stopped."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "-sc" in words or "--shell-completion" in words:
        from evals.completion import complete

        return int(complete(words))
    if not words or words[0] in ("-h", "--help", "help"):
        print(helping.overview())
        return 0
    try:
        code = _command(words[0], words[1:])
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head`, which read what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
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
        print(helping.help_of(word))
        return 0
    if word == "plan":
        return _plan(rest)
    codes: list[int] = []
    finished: list[dict[str, Any]] = []
    _through_hydra(word, ordered(translated(word, rest)), lambda plain: codes.append(_job(word, plain, rest, finished)))
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

    before, words = sys.argv, [quoted(part, sweep=bool({"-m", "--multirun"} & set(rest))) for part in rest]
    sys.argv = [before[0], *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        if not _composed_once(word, words, entry):
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


def _composed_once(word: str, words: Sequence[str], entry: Callable[[Any], None]) -> bool:
    """One job without Hydra's own machinery, for which `hydra.main` composes everything twice. False, and nothing done,
    where the words or the configuration ask for more: flags, Hydra's own keys, a sweep."""
    if any(part.startswith(("-", "hydra.", "hydra/", "+hydra", "~hydra", "++hydra")) for part in words):
        return False
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    with initialize_config_dir(config_dir=str(catalog.shipped() / "configs"), version_base="1.3"):
        config = compose(word, list(words), return_hydra_config=True)
        own = config.hydra
        if (own.mode is not None and own.mode.name == "MULTIRUN") or own.callbacks:
            return False
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
        entry(config)
    return True


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
    is_path = key.rsplit(".", 1)[-1] in PATHS and value != "null" and not (key == "model.policy" and value[0] == "{")
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

    text = one_line(error).replace("+model@model.", "model.")
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

    if isinstance(scenario := plain.get("scenario"), dict) and not scenario.get("name"):
        scenario["name"] = HydraConfig.get().runtime.choices.get("scenario")  # the stem of its file
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
    """Validate the plain data and do the work."""
    return dispatch.perform(word, validated(word, plain), command, tell)


def _after_sweep(summaries: Sequence[dict[str, Any]]) -> None:
    if len(summaries) > 1:
        from evals.report import console

        print("\n" + console.results(summaries))


def _plan(rest: Sequence[str]) -> int:
    """`model=a,b` is one job here: the configuration is composed once a model, and all of them are planned together."""
    if sweep := {"-m", "--multirun"} & set(rest):
        raise ConfigError(f"{min(sweep)} is not for plan: model=a,b plans for both")
    said, rest = rest, translated("plan", rest)
    from evals.commands.plan import each_model

    plains: list[dict[str, Any]] = []
    for words in each_model(rest):
        _through_hydra("plan", ordered(words), plains.append)
    if not plains:  # --cfg, which Hydra answers
        return 0
    models = [plain.pop("model") for plain in plains if plain.get("model")]
    return perform("plan", {**plains[0], "model": models}, launcher("plan", said))
