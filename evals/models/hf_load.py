"""Weights -> a loaded transformers model and its tokenizer: a folder, a GGUF, or the hub's cache on this disk.

Code that comes with weights is never run, and the hub is asked only where `fetch` says so.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evals.core import stable_hash
from evals.errors import ConfigError, UserError, WeightsError
from evals.models.gguf import GgufInfo, read_header
from evals.models.llama_cpp import wait_briefly
from evals.models.llama_probe import file_hash
from evals.models.memory import free_memory as free_ram

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantise = Literal["4bit", "8bit"]
_HASHED = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt")
"""Files of a folder that can change an answer."""
_DIGITS_APART = ("smollm",)
"""GGUF pre-tokenisers that split off every digit first, where transformers forgets it: `\\n\\n1` fell into other tokens
than llama.cpp's."""

_TEXT_ENDS = "<|endoftext|>"
"""Ends a text where a vocabulary has it; a GGUF names one end alone, llama.cpp knows this one by its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What the model's YAML asks for."""

    name: str
    path: str | None
    repo: str | None
    revision: str | None
    gguf_file: str | None
    fetch: bool
    dtype: Dtype
    device: str
    quantise: Quantise | None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.repo is None):
            raise ConfigError(
                f"{self.name}: name the weights by model.path=FOLDER (or FILE.gguf), or by model.repo=OWNER/NAME"
                + (", not by both" if self.path else "")
            )
        if self.fetch and self.repo and not self.revision:
            raise ConfigError(
                f"{self.name}: model.fetch=true needs model.revision=COMMIT: what the hub offers today may change"
            )


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model ready to answer."""

    torch: Any
    model: Any
    tokenizer: Any
    device: Any
    template: str | None
    """Jinja text of the chat template."""
    context: int | None
    """Tokens the model was trained on."""
    vocab: int
    """Tokens the model scores."""
    ends: frozenset[int]
    """Tokens that end an answer."""
    adds_bos: bool
    """Does its tokenizer begin a text with a start token?"""
    dtype: str
    exact: bool
    """Are weights and arithmetic of this dtype, not of fewer bits?"""
    name: str
    quantisation: str
    weights: Mapping[str, Any] = field(default_factory=dict)
    """For the manifest: file or commit, bytes, hash."""


def load(wanted: Wanted, *, threads: int) -> Loaded:
    """Load everything onto the device; what cannot be had is one line."""
    if not wanted.fetch:
        os.environ["HF_HUB_OFFLINE"] = (
            "1"  # beside `local_files_only`: read where the hub's library is not imported yet
        )
        os.environ.setdefault("TQDM_DISABLE", "1")
    place, source, info = _source(wanted)
    torch, transformers = libraries()
    torch.set_num_threads(threads)
    transformers.utils.logging.set_verbosity_error()
    if not wanted.fetch:
        transformers.utils.logging.disable_progress_bar()
    if wanted.repo is not None and wanted.gguf_file is not None:
        place, source, info = _gguf(_of_repo(transformers, wanted, wanted.gguf_file))
    device = _device(torch, wanted)
    dtype = _dtype(torch, wanted, device)
    options = {**source, "trust_remote_code": False, "local_files_only": not wanted.fetch}
    with _one_line(wanted, place):
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, **options)
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            place, dtype=dtype, output_loading_info=True, **_quantised(transformers, wanted, device, dtype), **options
        )
    _whole(wanted, place, found)
    if wanted.quantise is None:
        model = model.to(device)
    if info is not None:
        _mend(tokenizer, info)
    config = model.config.get_text_config()
    return Loaded(
        torch=torch,
        model=model.eval(),
        tokenizer=tokenizer,
        device=device,
        template=info.chat_template if info else _template(tokenizer),
        context=getattr(config, "max_position_embeddings", None),
        vocab=int(config.vocab_size),
        ends=_ends(model, tokenizer, info),
        adds_bos=list(tokenizer("")["input_ids"])[:1] == [tokenizer.bos_token_id],
        dtype=str(dtype).removeprefix("torch."),
        exact=wanted.quantise is None,
        name=(info.name if info else None) or wanted.repo or Path(place).name,
        quantisation=info.quantisation if info else wanted.quantise or str(dtype).removeprefix("torch."),
        weights=_facts(transformers, wanted, place, info, model),
    )


def libraries() -> tuple[Any, Any]:
    """torch and transformers, or one line that says how to get them."""
    wait_briefly()
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UserError(
            f"transformers cannot be imported ({error}): `make hf` makes an environment that has it, "
            "or pip install -e '.[hf]'"
        ) from None
    return torch, transformers


def free_memory(loaded: Loaded) -> int | None:
    """Bytes that caches may share, where the weights are; `None` where the system does not tell."""
    if loaded.device.type == "cuda":
        return int(loaded.torch.cuda.mem_get_info(loaded.device)[0])
    return free_ram() if loaded.device.type == "cpu" else None


def _source(wanted: Wanted) -> tuple[str, dict[str, Any], GgufInfo | None]:
    """What `from_pretrained` is told, with the head of a local GGUF; a damaged file is refused before anything loads."""
    if wanted.repo is not None:
        return wanted.repo, {"revision": wanted.revision} if wanted.revision else {}, None
    path = Path(str(wanted.path)).expanduser().absolute()
    file = path / wanted.gguf_file if wanted.gguf_file else path
    if file.suffix == ".gguf" or wanted.gguf_file:
        return _gguf(file)
    if not path.is_dir():
        raise WeightsError(f"model.path={wanted.path}: no such folder, and no .gguf file")
    if not (path / "config.json").is_file():
        raise WeightsError(
            f"model.path={wanted.path}: no config.json in it: give a folder that transformers' save_pretrained made"
        )
    return str(path), {}, None


def _of_repo(transformers: Any, wanted: Wanted, file: str) -> Path:
    """Where a file of the repository lies on this disk."""
    with _one_line(wanted, str(wanted.repo)):
        found = transformers.utils.cached_file(
            wanted.repo, file, revision=wanted.revision, local_files_only=not wanted.fetch
        )
    return Path(str(found))


def _commit(transformers: Any, wanted: Wanted) -> str | None:
    """The commit that answers: what a branch or tag was when it was fetched."""
    file = _of_repo(transformers, wanted, wanted.gguf_file or "config.json")
    found = transformers.utils.hub.extract_commit_hash(str(file), None)
    return str(found) if found else None


def _gguf(file: Path) -> tuple[str, dict[str, Any], GgufInfo]:
    return str(file.parent), {"gguf_file": file.name}, read_header(file)


def _device(torch: Any, wanted: Wanted) -> Any:
    if wanted.device == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    try:
        device = torch.device(wanted.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        said = " ".join(str(error).split())[:120]
        raise ConfigError(f"{wanted.name}: model.device={wanted.device}: {said}; auto takes what is here") from None
    return device


def _dtype(torch: Any, wanted: Wanted, device: Any) -> Any:
    if wanted.dtype != "auto":
        return getattr(torch, wanted.dtype)
    if device.type == "cpu":
        return torch.float32
    return torch.float16 if device.type == "cuda" and not torch.cuda.is_bf16_supported() else torch.bfloat16


def _quantised(transformers: Any, wanted: Wanted, device: Any, dtype: Any) -> dict[str, Any]:
    """What bitsandbytes needs to be told; one line where it cannot work."""
    if wanted.quantise is None:
        return {}
    lacking = [name for name in ("bitsandbytes", "accelerate") if importlib.util.find_spec(name) is None]
    if device.type != "cuda" or lacking:
        why = f"this is {device.type}" if device.type != "cuda" else f"pip install {' '.join(lacking)}"
        raise ConfigError(
            f"{wanted.name}: model.quantise={wanted.quantise} needs bitsandbytes on a CUDA device ({why}); "
            "leave it null, or take a GGUF"
        )
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    config = transformers.BitsAndBytesConfig(**(four if wanted.quantise == "4bit" else {"load_in_8bit": True}))
    return {"quantization_config": config, "device_map": {"": device}}


@contextlib.contextmanager
def _one_line(wanted: Wanted, place: str) -> Iterator[None]:
    """Whatever transformers raises while it loads, as one line with the mend."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        if "trust_remote_code" in said:
            mend = "it brings code of its own, which is never run; take a GGUF of it with backend llama_cpp"
        elif wanted.repo and not wanted.fetch:
            mend = (
                f"not whole in the hub's cache on this disk ({type(error).__name__}); "
                "model.fetch=true model.revision=COMMIT fetches it, model.path=FOLDER takes a folder"
            )
        else:
            mend = f"transformers cannot load it: {type(error).__name__}: {said[:240]}"
        raise WeightsError(f"{wanted.name}: {place}: {mend}") from None


def _whole(wanted: Wanted, place: str, found: Mapping[str, Any]) -> None:
    """transformers makes up, at random, what a file lacks: such a model must not answer."""
    for kind in ("missing_keys", "mismatched_keys"):
        if lacking := sorted(map(str, found.get(kind) or ())):
            word = kind.partition("_")[0]
            raise WeightsError(
                f"{wanted.name}: {place}: {len(lacking)} tensors are {word}, such as {lacking[0]}; fetch it again, or "
                "it is no causal language model"
            )


def _mend(tokenizer: Any, info: GgufInfo) -> None:
    """Set what transformers forgets of a GGUF's tokenizer, where it is known."""
    if info.metadata.get("tokenizer.ggml.pre") not in _DIGITS_APART:
        return
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), backend.pre_tokenizer])


def _template(tokenizer: Any) -> str | None:
    """The chat template; of several named ones the default."""
    found = tokenizer.chat_template
    if isinstance(found, Mapping):
        found = found.get("default")
    return found if isinstance(found, str) else None


def _ends(model: Any, tokenizer: Any, info: GgufInfo | None) -> frozenset[int]:
    """Every token that the weights say ends a turn or a text."""
    said = [tokenizer.eos_token_id, model.config.get_text_config().eos_token_id]
    said.append(getattr(model.generation_config, "eos_token_id", None))
    said += [info.metadata.get(f"tokenizer.ggml.{kind}_token_id") for kind in ("eos", "eot", "eom")] if info else []
    if info is not None and _TEXT_ENDS in tokenizer.get_added_vocab():
        said.append(tokenizer.convert_tokens_to_ids(_TEXT_ENDS))
    found: set[int] = set()
    for each in said:
        found |= set(each) if isinstance(each, list | tuple) else {each} if isinstance(each, int) else set()
    return frozenset(found)


def _facts(transformers: Any, wanted: Wanted, place: str, info: GgufInfo | None, model: Any) -> dict[str, Any]:
    config = model.config.get_text_config()
    shared = {
        "architecture": model.config.model_type,
        "parameters": int(model.num_parameters()),
        "context_length": getattr(config, "max_position_embeddings", None),
        "layers": getattr(config, "num_hidden_layers", None),
    }
    if wanted.repo is not None:
        shared |= {"repo": wanted.repo, "revision": wanted.revision, "commit": _commit(transformers, wanted)}
    if info is not None:
        pre = info.metadata.get("tokenizer.ggml.pre")
        return shared | {
            "file": Path(info.path).name,
            "bytes": info.file_bytes,
            "sha256": file_hash(Path(info.path)),
            "name": info.name,
            "quantisation": info.quantisation,
            "dequantised": True,
            "pre_tokeniser": pre,
            "licence": info.licence,
        }
    if wanted.repo is not None:
        place = str(_of_repo(transformers, wanted, "config.json").parent)
    files = sorted({file for glob in _HASHED for file in Path(place).glob(glob)})
    return shared | {
        "folder": None if wanted.repo else Path(place).name,
        "bytes": sum(file.stat().st_size for file in files),
        "files": len(files),
        "sha256": stable_hash({file.name: file_hash(file) for file in files}, length=64),
    }
