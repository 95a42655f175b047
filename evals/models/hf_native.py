"""A transformers model as `slots` drives one: tokens of several documents in one forward pass, a cache for each.

The tokens of all pieces are packed into one row without any padding: on a CPU nearly all the work is in the linear
layers, where a padded token costs what a real one does. Attention is ours: each piece over the keys and values of its
own slot, which grow in place (transformers' own cache copies all of them for every token: a third of the time, measured
with eight rows of 1,000 tokens). So a document's answer depends on its neighbours by rounding alone. transformers'
`generate` has neither several schemas, draws and ends in one batch, nor says when the first token came.
"""

import functools
import gc
import inspect
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evals.errors import CallFailed, ConfigError, WeightsError
from evals.models.constraint import llguidance
from evals.models.hf_load import Loaded
from evals.models.llama_native import NativeSettings, Piece

NO_MEMORY = "out of memory: lower model.slots, shorten documents (task.max_chars), or take a smaller model or dtype"
_GROWS = 512
"""Caches grow by so many tokens."""
_PROBE = 24
"""Tokens of the check that packed slots score as the model itself does."""
_CLOSE = {"float32": 1e-3}
_ROUGH = 0.1
"""How far those scores may lie apart, in standard deviations of the scores."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a piece lies in the packed row, and in its slot."""

    begin: int
    end: int
    slot: int
    start: int

    @property
    def stop(self) -> int:
        """Tokens of the slot with the piece's own."""
        return self.start + self.end - self.begin


@dataclass
class _Plan:
    """One forward pass, as the caches and the attention see it."""

    spans: list[_Span] = field(default_factory=list)
    slots: Any = None
    places: Any = None
    room: int = 0
    masks: dict[tuple[_Span, int], Any] = field(default_factory=dict)


class SlotModel:
    """Of `llama_native.Native` what `Slots` and `Prompts` use. Not for several threads."""

    def __init__(self, loaded: Loaded, settings: NativeSettings) -> None:
        self.loaded = loaded
        self.n_vocab = loaded.vocab
        self._torch = loaded.torch
        self._takes = set(inspect.signature(loaded.model.forward).parameters)
        self._theirs = self._read_tokenizer()
        self._piece = functools.cache(self._bytes_of)
        self.open(settings)
        self._check()

    def open(self, settings: NativeSettings) -> None:
        """Start with empty caches for so many slots."""
        from evals.models.hf_cache import SlotCache

        self.settings = settings
        self._plan = _Plan()
        self._cache = SlotCache(self._plan, settings.slots)

    def bytes_per_token(self) -> int:
        """Bytes that one token of one slot takes in the cache; known once something was evaluated."""
        return int(self._cache.bytes_per_token())

    def close(self) -> None:
        """Free the caches and the weights."""
        self.open(self.settings)
        self.loaded = replace(self.loaded, model=None)
        gc.collect()
        self._let_go()

    def tokenise(self, text: str, *, special: bool = True, add_bos: bool = False) -> list[int]:
        """Token ids of `text`; with `special`, control tokens written out in it are read as such. `add_bos`: where the
        tokenizer begins a text with one."""
        tokenizer = self.loaded.tokenizer
        clean = text.encode("utf-8", "replace").decode()
        found = list(tokenizer(clean, add_special_tokens=False, split_special_tokens=not special)["input_ids"])
        return [tokenizer.bos_token_id, *found] if add_bos and self.loaded.adds_bos else found

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, control tokens left out."""
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace")

    def piece(self, token: int) -> bytes:
        """The bytes of one token; a control token has none."""
        return self._piece(token)

    def _bytes_of(self, token: int) -> bytes:
        if token >= self._theirs.vocab_size or self._theirs.is_special_token(token):
            return b""
        return bytes(self._theirs.decode_bytes([token]))

    def token_text(self, name: str) -> str:
        """The written form of the `bos` or `eos` token, empty where there is none."""
        return str(getattr(self.loaded.tokenizer, f"{name}_token") or "")

    def ends(self, token: int) -> bool:
        """Is an answer over with this token?"""
        return token in self.loaded.ends

    def tokenizer(self) -> Any:
        """llguidance's view of the vocabulary."""
        return self._theirs

    def _read_tokenizer(self) -> Any:
        llguidance()
        from llguidance.hf import from_tokenizer

        size = max(self.n_vocab, len(self.loaded.tokenizer))  # either may have rows that the other lacks
        try:
            return from_tokenizer(self.loaded.tokenizer, n_vocab=size, eos_token=sorted(self.loaded.ends))
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise WeightsError(
                f"{self.loaded.name}: its tokenizer cannot be used ({said}): a fast one is needed"
            ) from None

    def keep(self, slot: int, count: int) -> bool:
        """Forget what a slot holds after its first `count` tokens: what comes next overwrites it."""
        return True

    def copy(self, source: int, slot: int, count: int) -> bool:
        """Let a slot hold the first `count` tokens of another."""
        self._cache.copy(source, slot, count)
        return True

    def evaluate(self, pieces: Sequence[Piece]) -> list[Any]:
        """Evaluate all pieces in one pass; scores over the vocabulary after those where they are asked for.

        Where memory does not do, in two halves; raises `CallFailed` where it does not do for these either.
        """
        scores = self._tried(pieces)
        if scores is None and len(pieces) > 1:
            half = len(pieces) // 2
            first, second = self._tried(pieces[:half]), self._tried(pieces[half:])
            scores = None if first is None or second is None else [*first, *second]
        if scores is None:
            raise CallFailed("internal", NO_MEMORY)
        return scores

    def _tried(self, pieces: Sequence[Piece]) -> list[Any] | None:
        """`None`: not enough memory. Nothing is lost then: a slot's tokens are only counted by `Slots`."""
        try:
            return self._forward(pieces)
        except Exception as error:
            if not out_of_memory(error):
                raise CallFailed("internal", f"{type(error).__name__}: {error}") from None
        self._let_go()
        return None

    def _let_go(self) -> None:
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()

    def _forward(self, pieces: Sequence[Piece]) -> list[Any]:
        torch, device = self._torch, self.loaded.device
        spans, tokens, places, slots = _packed(pieces)
        self._plan.spans, self._plan.masks = spans, {}
        self._plan.places = torch.tensor(places, device=device)
        self._plan.slots = torch.tensor(slots, device=device)
        self._plan.room = -(-max(span.stop for span in spans) // _GROWS) * _GROWS
        wanted = [at for at, piece in enumerate(pieces) if piece.scored]
        last = [spans[at].end - 1 for at in wanted]
        given = {
            "position_ids": self._plan.places.unsqueeze(0),
            "logits_to_keep": torch.tensor(last or [0], device=device),
            "cache": self._cache,
        }
        if "cache" not in self._takes:
            given["past_key_values"] = given.pop("cache")
        with torch.inference_mode():
            logits = self.loaded.model(
                input_ids=torch.tensor([tokens], device=device),
                use_cache=True,
                **{key: value for key, value in given.items() if key in self._takes},
            ).logits[0]
            rows = logits if "logits_to_keep" in self._takes else logits[last or [0]]
            found = rows.float().cpu().numpy()
        scores: list[Any] = [None] * len(pieces)
        for row, at in enumerate(wanted):
            scores[at] = found[row]
        return scores

    def attend(
        self,
        module: Any,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any,
        *,
        scaling: float | None = None,
        sliding_window: int | None = None,
        softcap: float | None = None,
        s_aux: Any = None,
        position_bias: Any = None,
        **_: Any,
    ) -> tuple[Any, None]:
        """What the model's layers call for attention: `key` and `value` are a layer's whole caches, see `hf_cache`."""
        if position_bias is not None:
            raise NotImplementedError("attention with a bias by position")
        torch = self._torch
        parts = []
        for span in self._plan.spans:
            low = max(0, span.start - sliding_window + 1) if sliding_window else 0
            one = slice(span.slot, span.slot + 1)
            q, k, v = query[:, :, span.begin : span.end], key[one, :, low : span.stop], value[one, :, low : span.stop]
            mask = self._mask(span, low, sliding_window)
            if softcap is None and s_aux is None:
                gqa = q.shape[1] != k.shape[1]
                attended = torch.nn.functional.scaled_dot_product_attention(
                    q, k, v, attn_mask=mask, scale=scaling, enable_gqa=gqa
                )
            else:
                attended = _by_hand(torch, q, k, v, mask, scaling, softcap, s_aux)
            parts.append(attended)
        return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None

    def _mask(self, span: _Span, low: int, window: int | None) -> Any:
        """Which of the slot's tokens from `low` on each token of the piece may see; `None`: all. Once for all layers."""
        if span.end - span.begin == 1:
            return None
        known = self._plan.masks.get((span, low))
        if known is None:
            torch, device = self._torch, self.loaded.device
            own = torch.arange(span.start, span.stop, device=device).unsqueeze(-1)
            theirs = torch.arange(low, span.stop, device=device)
            known = theirs <= own
            if window:
                known &= theirs > own - window
            self._plan.masks[span, low] = known
        return known

    def _check(self) -> None:
        """Are packed slots scored as the model itself would? Some models attend in ways that this cannot follow."""
        torch, model = self._torch, self.loaded.model
        tokens = [(7 * n + 3) % self.n_vocab for n in range(_PROBE)]
        with torch.inference_mode():
            full = model(input_ids=torch.tensor([tokens], device=self.loaded.device)).logits[0].float().cpu()
        self._take_over()
        before = self.settings
        self.open(NativeSettings(n_ctx=_PROBE, n_batch=_PROBE, threads=1, slots=2))
        try:
            self._forward([Piece(1, 0, tokens[:9], False)])
            self._forward([Piece(0, 0, tokens[:5], False), Piece(1, 9, tokens[9:-1], False)])
            short, long = self._forward([Piece(0, 5, tokens[5:6], True), Piece(1, _PROBE - 1, tokens[-1:], True)])
        except Exception as error:
            raise self._refused(f"{type(error).__name__}: {' '.join(str(error).split())[:80]}") from None
        apart = max(
            float((full[at] - torch.from_numpy(scores)).abs().max() / full[at].std())
            for at, scores in ((5, short), (_PROBE - 1, long))
        )
        exact = self.loaded.dtype if self.loaded.exact else ""
        if not apart <= _CLOSE.get(exact, _ROUGH):
            raise self._refused(f"scores differ by {apart:.2g} standard deviations")
        self.bytes_each = self.bytes_per_token()
        self.open(before)

    def _take_over(self) -> None:
        from transformers import AttentionInterface

        # The library keeps what is registered for good: it must not keep the weights with it.
        name, ours = f"evals_slots_{id(self)}", weakref.WeakMethod(self.attend)
        AttentionInterface.register(name, lambda *args, **given: ours()(*args, **given))  # type: ignore[misc]
        self.loaded.model.set_attn_implementation(name)

    def _refused(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self.loaded.name}: documents cannot be decoded together with {self.loaded.model.config.model_type} "
            f"({why}): take a GGUF of it with llama.cpp, or a server with model=openai_compatible"
        )


def _packed(pieces: Sequence[Piece]) -> tuple[list[_Span], list[int], list[int], list[int]]:
    """All pieces in one row: their spans, and of each token its id, its place in its slot, and its slot."""
    spans: list[_Span] = []
    tokens: list[int] = []
    places: list[int] = []
    slots: list[int] = []
    for piece in pieces:
        spans.append(_Span(len(tokens), len(tokens) + len(piece.tokens), piece.slot, piece.start))
        places += range(piece.start, piece.start + len(piece.tokens))
        slots += [piece.slot] * len(piece.tokens)
        tokens += piece.tokens
    return spans, tokens, places, slots


def _by_hand(
    torch: Any, q: Any, k: Any, v: Any, mask: Any, scale: float | None, softcap: float | None, sinks: Any
) -> Any:
    """Attention with a cap on its scores (Gemma 2) or with sinks (gpt-oss), which torch's own has not."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = (q @ k.transpose(-1, -2)).float() * (scale if scale is not None else 1 / math.sqrt(q.shape[-1]))
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    if sinks is not None:
        column = sinks.float().reshape(1, -1, 1, 1).expand(1, -1, q.shape[2], 1)
        scores = torch.cat([scores, column], dim=-1)
    weights = scores.softmax(-1)[..., : k.shape[2]]
    return weights.to(v.dtype) @ v


def out_of_memory(error: Exception) -> bool:
    """torch has a class for a GPU's memory, and only words for a CPU's."""
    said = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in said for word in words))
