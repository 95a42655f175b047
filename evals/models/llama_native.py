"""llama.cpp through the low-level functions that `llama_cpp` publishes: load, tokenise, evaluate tokens of several
sequences at once, and keep what their caches hold.

Every slot is a sequence with a cache of its own (not one unified cache: attention of a unified one runs over all
sequences' tokens; measured with four of 512 tokens, SmolLM2 decodes 1.05-1.2 x as fast apart).
"""

import ctypes
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evals.errors import CallFailed, UserError, WeightsError


@dataclass(frozen=True, kw_only=True, slots=True)
class NativeSettings:
    """What changes speed or answers of a loaded model."""

    n_ctx: int
    """Tokens a slot holds: prompt and answer of one document."""
    n_batch: int
    threads: int
    slots: int = 1
    """Sequences that are decoded together."""
    decode_rows: int | None = None
    """Tokens that are evaluated together at most while answering; `None`: as many as there are."""
    n_gpu_layers: int = 0
    flash_attn: bool = False
    use_extra_bufts: bool = True
    """False: no repacked weights; cures builds that die on machines with AMX."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens to evaluate at the end of one slot's sequence."""

    slot: int
    start: int
    """Position of the first of them: how many the slot holds."""
    tokens: Sequence[int]
    scored: bool
    """Are the scores after the last of them wanted?"""


def library() -> Any:
    """The low-level functions of `llama_cpp`, or one line that says how to get them."""
    try:
        return importlib.import_module("llama_cpp.llama_cpp")
    except ImportError as error:
        raise UserError(
            f"llama_cpp cannot be imported ({error}); build it with `python -m evals.models.llama_build`"
        ) from None
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"llama_cpp's shared library cannot be loaded ({error}); "
            "build it for this machine with `python -m evals.models.llama_build`"
        ) from None


def devices() -> list[str]:
    """What llama.cpp may compute on here: the processor, and each GPU that its build knows."""
    library()
    from llama_cpp import llama_cpp

    lib = llama_cpp._lib
    lib.ggml_backend_dev_count.restype = ctypes.c_size_t
    lib.ggml_backend_dev_get.restype, lib.ggml_backend_dev_get.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    describe = lib.ggml_backend_dev_description
    describe.restype, describe.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return [describe(lib.ggml_backend_dev_get(at)).decode() for at in range(lib.ggml_backend_dev_count())]


class _Log:
    """Keeps the library's complaints for our error lines; the rest of what it says is dropped."""

    def __init__(self, lib: Any) -> None:
        self.errors: list[str] = []
        # The library calls this for as long as the process lives: the reference must not be collected.
        self.callback = lib.llama_log_callback(self._hear)
        lib.llama_log_set(self.callback, ctypes.c_void_p(0))

    def _hear(self, level: int, text: bytes, _: Any) -> None:
        line = text.decode("utf-8", "replace").strip()
        if level == 4 and line:  # GGML_LOG_LEVEL_ERROR
            self.errors = [*self.errors[-7:], line]


_log: _Log | None = None


def quiet(lib: Any) -> _Log:
    """Silence the library, once a process; returns what collects its errors."""
    global _log
    if _log is None:
        _log = _Log(lib)
    _log.errors = []
    return _log


class Native:
    """A loaded model and its one context. Not for several threads."""

    def __init__(self, path: str, settings: NativeSettings) -> None:
        import numpy

        self.np = numpy
        self.path = path
        self.lib = library()
        self._log = quiet(self.lib)
        self.settings = settings
        self.lib.llama_backend_init()
        self.model = self._load()
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.n_vocab = int(self.lib.llama_vocab_n_tokens(self.vocab))
        self._pieces: dict[int, bytes] = {}
        self.ctx: Any = None

    def _load(self) -> Any:
        params = self.lib.llama_model_default_params()
        params.n_gpu_layers = self.settings.n_gpu_layers
        params.use_extra_bufts = self.settings.use_extra_bufts
        model = self.lib.llama_model_load_from_file(self.path.encode(), params)
        if not model:
            raise WeightsError(f"{self.path}: llama.cpp cannot load it: {self._why()}")
        return model

    def open(self, settings: NativeSettings) -> bool:
        """Make the context that `settings` ask for; False where there is no memory for it."""
        self.settings = settings
        params = self.lib.llama_context_default_params()
        params.n_ctx = settings.n_ctx * settings.slots
        params.n_seq_max = settings.slots
        params.kv_unified = False
        params.n_batch = params.n_ubatch = settings.n_batch
        params.n_threads = params.n_threads_batch = settings.threads
        on, off = self.lib.LLAMA_FLASH_ATTN_TYPE_ENABLED, self.lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.flash_attn_type = on if settings.flash_attn else off
        params.no_perf = True
        self.ctx = self.lib.llama_init_from_model(self.model, params)
        if not self.ctx:
            return False
        self.memory = self.lib.llama_get_memory(self.ctx)
        self._batch = self.lib.llama_batch_init(settings.n_batch, 0, 1)
        return True

    def no_context(self) -> WeightsError:
        """What is told where not even the smallest context can be made."""
        said = f"{self.path}: no context of n_ctx={self.settings.n_ctx}: {self._why()}; try a smaller n_ctx"
        return WeightsError(said)

    def _why(self) -> str:
        return " ".join(self._log.errors[-2:]) or "no reason given"

    def shut(self) -> None:
        """Free the context, keep the weights."""
        if self.ctx:
            self.lib.llama_batch_free(self._batch)
            self.lib.llama_free(self.ctx)
            self.ctx = None

    def close(self) -> None:
        """Free the context and the weights."""
        self.shut()
        self.lib.llama_model_free(self.model)

    def cache_bytes_per_token(self) -> int:
        """Bytes that one token takes in the cache, at half precision: keys and values of every layer."""
        heads = self.lib.llama_model_n_head_kv(self.model)
        wide = self.lib.llama_model_n_embd(self.model) // max(self.lib.llama_model_n_head(self.model), 1)
        arch = self.meta("general.architecture")
        keys = int(self.meta(f"{arch}.attention.key_length") or wide)
        values = int(self.meta(f"{arch}.attention.value_length") or wide)
        return int(2 * self.lib.llama_model_n_layer(self.model) * heads * (keys + values))

    def meta(self, key: str) -> str:
        """A scalar of the file's header as text, empty where it has none."""
        buffer = ctypes.create_string_buffer(256)
        count = self.lib.llama_model_meta_val_str(self.model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if count > 0 else ""

    def tokenise(self, text: str, *, special: bool = True, add_bos: bool = False) -> list[int]:
        """Token ids of `text`; with `special`, control tokens written out in it are read as such."""
        raw = text.encode("utf-8", "replace")
        size = len(raw) + 8
        tokens = (self.lib.llama_token * size)()
        count = self.lib.llama_tokenize(self.vocab, raw, len(raw), tokens, size, add_bos, special)
        return list(tokens[:count])

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, control tokens left out."""
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        """The bytes of one token; a control token has none."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._piece(token, 64)
        return known

    def _piece(self, token: int, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        count = self.lib.llama_token_to_piece(self.vocab, token, buffer, size, 0, False)
        return buffer.raw[:count] if count >= 0 else self._piece(token, -count)

    def token_text(self, name: str) -> str:
        """The written form of the vocabulary's `bos` or `eos` token, empty where it has none."""
        token = getattr(self.lib, f"llama_vocab_{name}")(self.vocab)
        return str(self.lib.llama_vocab_get_text(self.vocab, token).decode()) if token >= 0 else ""

    def ends(self, token: int) -> bool:
        """Is an answer over with this token?"""
        return bool(self.lib.llama_vocab_is_eog(self.vocab, token))

    def tokenizer(self) -> Any:
        """llguidance's view of the vocabulary. Takes a second."""
        from llguidance.llamacpp import lltokenizer_from_vocab

        return lltokenizer_from_vocab(self.vocab, eos_token=self.lib.llama_vocab_eos(self.vocab))

    def keep(self, slot: int, count: int) -> bool:
        """Forget what a slot holds after its first `count` tokens; False: it could not, and holds nothing now."""
        if count and self.lib.llama_memory_seq_rm(self.memory, slot, count, -1):
            return True
        self.lib.llama_memory_seq_rm(self.memory, slot, -1, -1)
        return not count

    def copy(self, source: int, slot: int, count: int) -> bool:
        """Let a slot hold the first `count` tokens of another; False: it could not, and holds nothing now."""
        self.lib.llama_memory_seq_rm(self.memory, slot, -1, -1)
        self.lib.llama_memory_seq_cp(self.memory, source, slot, -1, -1)
        return self.keep(slot, count)

    def evaluate(self, pieces: Sequence[Piece]) -> list[Any]:
        """Evaluate all pieces in one batch, at most `n_batch` tokens; scores over the vocabulary where they are asked.

        The scores are views that hold until the next call.
        """
        batch, at = self._batch, 0
        places: list[int | None] = []
        for piece in pieces:
            for offset, token in enumerate(piece.tokens):
                batch.token[at], batch.pos[at] = token, piece.start + offset
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, piece.slot
                batch.logits[at] = 0
                at += 1
            if piece.scored:
                batch.logits[at - 1] = 1
            places.append(at - 1 if piece.scored else None)
        batch.n_tokens = at
        code = self.lib.llama_decode(self.ctx, batch)
        if code:
            raise CallFailed("internal", f"llama_decode returned {code}: {self._why()}")
        return [None if place is None else self._scores(place) for place in places]

    def _scores(self, place: int) -> Any:
        pointer = self.lib.llama_get_logits_ith(self.ctx, place)
        return self.np.ctypeslib.as_array(pointer, shape=(self.n_vocab,))
