"""llama.cpp through the low-level functions that `llama_cpp` publishes: load, tokenise, evaluate, choose a token.

Three things its high-level class does not give: the document-independent start of a prompt is evaluated in batches
of its own, so that reusing it never changes an answer; a choice is checked against the grammar first and the whole
vocabulary only where that fails (same answer, most of the grammar's time saved); and a cancelled call stops.
"""

import codecs
import ctypes
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evals.errors import CallFailed, UserError, WeightsError

_SHORTLIST = 64
"""Best candidates shown to the grammar together, before the whole vocabulary is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NativeSettings:
    """What changes speed or answers of a loaded model."""

    n_ctx: int
    n_batch: int
    threads: int
    n_gpu_layers: int = 0
    flash_attn: bool = False
    use_extra_bufts: bool = True
    """False: no repacked weights; cures builds that die on machines with AMX."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """What one call of `Native.generate` made."""

    text: str
    finish_reason: str
    tokens: int
    reused: int
    """Prompt tokens that were still in the KV cache."""
    signals: dict[str, float]


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


class _Log:
    """Keeps the library's complaints for our error lines, and passes warnings and errors on to the child's log."""

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
        self.lib = library()
        self._log = quiet(self.lib)
        self.settings = settings
        self.lib.llama_backend_init()
        self.model = self._load(path)
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.n_vocab = int(self.lib.llama_vocab_n_tokens(self.vocab))
        self.ctx = self._context(path)
        self.memory = self.lib.llama_get_memory(self.ctx)
        self._held: list[int] = []
        self._pieces: dict[int, bytes] = {}
        self._grammars: dict[str, Any] = {}
        # One allocation for all checks: id, logit, p, as the library lays them out.
        self._candidates = numpy.zeros(
            self.n_vocab, dtype=numpy.dtype([("id", "i4"), ("logit", "f4"), ("p", "f4")], align=True)
        )

    def _load(self, path: str) -> Any:
        params = self.lib.llama_model_default_params()
        params.n_gpu_layers = self.settings.n_gpu_layers
        params.use_extra_bufts = self.settings.use_extra_bufts
        model = self.lib.llama_model_load_from_file(path.encode(), params)
        if not model:
            raise WeightsError(f"{path}: llama.cpp cannot load it: {self._why()}")
        return model

    def _context(self, path: str) -> Any:
        params = self.lib.llama_context_default_params()
        params.n_ctx = self.settings.n_ctx
        params.n_batch = params.n_ubatch = self.settings.n_batch
        params.n_threads = params.n_threads_batch = self.settings.threads
        on, off = self.lib.LLAMA_FLASH_ATTN_TYPE_ENABLED, self.lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.flash_attn_type = on if self.settings.flash_attn else off
        params.no_perf = True
        ctx = self.lib.llama_init_from_model(self.model, params)
        if not ctx:
            self.lib.llama_model_free(self.model)
            raise WeightsError(f"{path}: no context of n_ctx={self.settings.n_ctx}: {self._why()}; try a smaller n_ctx")
        return ctx

    def _why(self) -> str:
        return " ".join(self._log.errors[-2:]) or "no reason given"

    def close(self) -> None:
        """Free the context and the weights."""
        for sampler in self._grammars.values():
            self.lib.llama_sampler_free(sampler)
        self._grammars = {}
        self.lib.llama_free(self.ctx)
        self.lib.llama_model_free(self.model)

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

    def generate(
        self,
        prompt: Sequence[int],
        *,
        fixed: int,
        max_tokens: int,
        grammar: str | None = None,
        closes: bool = False,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
        cancelled: Callable[[], bool] = lambda: False,
        event: Callable[[str], None] = lambda name: None,
    ) -> Generated:
        """Evaluate `prompt` and decode. `fixed`: tokens at its head that do not depend on the document.

        `closes`: nothing can follow once the grammar may end, so the end need not be decoded. `event` is called with
        `prefill_done`, `first` and `last`.
        """
        checker = self._checker(grammar) if grammar else None
        try:
            reused = self._prefill(prompt, fixed, cancelled)
            event("prefill_done")
            choose = _Chooser(self, checker, temperature, seed)
            text, reason, count = self._decode(choose, max_tokens, closes, stop, cancelled, event)
        except BaseException:
            self._held = []
            raise
        finally:
            if checker is not None:
                self.lib.llama_sampler_free(checker)
        event("last")
        return Generated(text=text, finish_reason=reason, tokens=count, reused=reused, signals=choose.signals())

    def _checker(self, grammar: str) -> Any:
        """A fresh copy of the compiled grammar: compiling costs more than copying."""
        if grammar not in self._grammars:
            self._log.errors = []
            made = self.lib.llama_sampler_init_grammar(self.vocab, grammar.encode(), b"root")
            if not made:
                raise CallFailed("bad_request", f"llama.cpp cannot read the grammar of this schema: {self._why()}")
            self._grammars[grammar] = made
        return self.lib.llama_sampler_clone(self._grammars[grammar])

    def _prefill(self, prompt: Sequence[int], fixed: int, cancelled: Callable[[], bool]) -> int:
        """Evaluate the prompt in batches that depend on this prompt alone, and keep the fixed head if it is there."""
        fixed = max(0, min(fixed, len(prompt) - 1))
        reused = fixed if fixed and self._held[:fixed] == list(prompt[:fixed]) else 0
        if not (reused and self.lib.llama_memory_seq_rm(self.memory, 0, reused, -1)):
            reused = 0
            self.lib.llama_memory_clear(self.memory, False)
        self._held = list(prompt[:reused])
        starts = [*range(reused, fixed, self.settings.n_batch), *range(fixed, len(prompt), self.settings.n_batch)]
        for start, end in zip(starts, [*starts[1:], len(prompt)], strict=True):
            if cancelled():
                raise CallFailed("timeout", "cancelled while the prompt was evaluated")
            self._evaluate(prompt[start:end])
        return reused

    def _evaluate(self, tokens: Sequence[int]) -> None:
        array = (self.lib.llama_token * len(tokens))(*tokens)
        code = self.lib.llama_decode(self.ctx, self.lib.llama_batch_get_one(array, len(tokens)))
        if code:
            raise CallFailed("internal", f"llama_decode returned {code}: {self._why()}")
        self._held.extend(tokens)

    def _decode(
        self,
        choose: "_Chooser",
        max_tokens: int,
        closes: bool,
        stop: Sequence[str],
        cancelled: Callable[[], bool],
        event: Callable[[str], None],
    ) -> tuple[str, str, int]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text, reason, count, said, token = "", "length", 0, False, -1
        while count < max_tokens:
            if count:
                if cancelled():
                    raise CallFailed("timeout", "cancelled while decoding")
                self._evaluate([token])
            token = choose()
            if self.lib.llama_vocab_is_eog(self.vocab, token):
                reason = "stop"
                break
            count += 1
            delta = decoder.decode(self.piece(token))
            text += delta
            if delta and not said:
                said = True
                event("first")
            cut = min((at for at in (text.find(word) for word in stop) if at >= 0), default=-1)
            if cut >= 0:
                text, reason = text[:cut], "stop"
                break
            if closes and text.endswith(("}", "]")) and choose.may_end():
                reason = "stop"
                break
        return text + decoder.decode(b"", final=True), reason, count


class _Chooser:
    """Chooses tokens: the best, or a seeded draw, that the grammar allows."""

    def __init__(self, native: Native, checker: Any, temperature: float, seed: int) -> None:
        self.native = native
        self.np = native.np
        self.checker = checker
        self.temperature = temperature
        self.random = native.np.random.default_rng(seed)
        self.eos = native.lib.llama_vocab_eos(native.vocab)
        self.logprobs: list[float] = []
        self.margins: list[float] = []
        self.forced = self.chosen = 0

    def __call__(self) -> int:
        np, native = self.np, self.native
        pointer = native.lib.llama_get_logits_ith(native.ctx, -1)
        logits = np.ctypeslib.as_array(pointer, shape=(native.n_vocab,))
        scores = logits
        if self.temperature > 0:
            # Gumbel noise makes the best score a draw from the softmax, and the best allowed one a draw from the
            # distribution under the grammar.
            scores = logits / self.temperature + self.random.gumbel(size=native.n_vocab)
        token = int(scores.argmax())
        self.chosen += 1
        forced = self.checker is not None and not self._allowed(np.array([token], dtype="i4"), scores).size
        if forced:
            token = self._best_allowed(scores)
            self.forced += 1
        else:
            self._note(logits, token)
        if self.checker is not None:
            native.lib.llama_sampler_accept(self.checker, token)
        return token

    def may_end(self) -> bool:
        """Would the grammar accept the end of the answer here?"""
        return bool(self._allowed(self.np.array([self.eos], dtype="i4"), self.np.zeros(self.native.n_vocab)).size)

    def _best_allowed(self, scores: Any) -> int:
        np = self.np
        size = min(_SHORTLIST, scores.size)
        allowed = self._allowed(np.argpartition(scores, -size)[-size:], scores)
        if not allowed.size:
            allowed = self._allowed(np.arange(scores.size), scores)
        if not allowed.size:
            raise CallFailed("internal", "no token of the vocabulary fits the grammar here")
        return int(allowed[scores[allowed].argmax()])

    def _allowed(self, tokens: Any, scores: Any) -> Any:
        """Those of `tokens` that the grammar accepts next."""
        lib = self.native.lib
        candidates = self.native._candidates[: tokens.size]
        candidates["id"], candidates["logit"] = tokens, scores[tokens]
        data = candidates.ctypes.data_as(lib.llama_token_data_p)
        array = lib.llama_token_data_array(data=data, size=tokens.size, selected=-1, sorted=False)
        lib.llama_sampler_apply(self.checker, ctypes.byref(array))
        return tokens[self.np.isfinite(candidates["logit"])]

    def _note(self, logits: Any, token: int) -> None:
        """Log-probability of a free choice and lead of the best over the second.

        Choices that the grammar forced are left out: most are spaces and commas where the model would have broken
        the line, and would drown what is said about values.
        """
        best = int(logits.argmax())
        top = float(logits[best])
        total = float(self.np.exp(logits - top).sum())
        self.logprobs.append(float(logits[token]) - top - float(self.np.log(total)))
        logits[best] = -self.np.inf
        self.margins.append(top - float(logits.max()))
        logits[best] = top

    def signals(self) -> dict[str, float]:
        """Confidence signals that cost nothing."""
        signals: dict[str, float] = {}
        if self.logprobs:
            signals["mean_logprob"] = sum(self.logprobs) / len(self.logprobs)
            signals["min_logprob"] = min(self.logprobs)
            signals["mean_margin"] = sum(self.margins) / len(self.margins)
        if self.checker is not None and self.chosen:
            signals["forced_share"] = self.forced / self.chosen
        return signals
