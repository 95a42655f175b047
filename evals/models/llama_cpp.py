"""A quantised GGUF model, in this process, through llama.cpp.

`LlamaCpp` is an `InProcess`: `engine/worker` builds it in a child. Answers depend on weights, build, threads, batch
size and flash attention: `load` reports all of them for the manifest. They do not depend on which documents came
before (see `llama_native`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from evals.core import Completion, Message, Request, Usage, stable_hash
from evals.errors import CallFailed, ConfigError
from evals.models import llama_native
from evals.models.base import Mark
from evals.models.chat_template import ChatTemplate, fold_system, plain_prompt
from evals.models.gguf import GgufInfo, read_header
from evals.models.json_grammar import closes, grammar
from evals.models.llama_probe import cpu_library, file_hash, safe_params

_LEAST_HEAD = 64
"""A shorter document-independent head is not worth batches of its own."""
_HEAD_MARGIN = 4
"""The head's last tokens may merge with the document's first."""
_GAP = "\n[...]\n"
"""Stands where the middle of a document was cut out."""


class LlamaCpp:
    """One GGUF file, answering one request at a time.

    `chat=False` is for base models: the messages become plain text (`chat_template.plain_prompt`). `n_ctx` is cut to
    what the model was trained on. `n_gpu_layers=-1` means all, where the build can. `use_extra_bufts=None` asks the
    probe what is safe here. `system_role=False` always moves the system message into the first user turn, True does
    so only where the template has no place for it. `seed` replaces the request's. `template_args` are handed to the
    chat template, such as `{enable_thinking: false}`.
    """

    def __init__(
        self,
        *,
        name: str,
        path: str,
        chat: bool = True,
        n_ctx: int = 8192,
        n_gpu_layers: int = -1,
        threads: int | None = None,
        n_batch: int = 512,
        flash_attn: bool = False,
        use_extra_bufts: bool | None = None,
        overflow: Literal["error", "truncate_middle"] = "error",
        system_role: bool = True,
        stop: Sequence[str] = (),
        seed: int | None = None,
        template_args: Mapping[str, Any] | None = None,
    ) -> None:
        if overflow not in ("error", "truncate_middle"):
            raise ConfigError(f"{name}: overflow={overflow!r}: error or truncate_middle")
        for key, value in (("n_ctx", n_ctx), ("n_batch", n_batch), ("threads", 1 if threads is None else threads)):
            if value < 1:
                raise ConfigError(f"{name}: {key}={value}: at least 1")
        self.name = name
        self.path = str(Path(path).expanduser())
        self.chat = chat
        self.overflow = overflow
        self.system_role = system_role
        self.stop = [word for word in stop if word]
        self.seed = seed
        self.template_args = dict(template_args or {})
        self.cancelled: Callable[[], bool] = _never
        """Asked between tokens; the worker puts its own here."""
        self._n_gpu_layers = n_gpu_layers
        self._use_extra_bufts = use_extra_bufts
        self._settings = llama_native.NativeSettings(
            n_ctx=n_ctx, n_batch=n_batch, threads=threads or cores(), flash_attn=flash_attn
        )
        self._native: llama_native.Native | None = None
        self._template: ChatTemplate | None = None
        self._fold = False
        self._heads: dict[str, list[int]] = {}

    def load(self) -> Mapping[str, Any]:
        """Check the file, load it, and say everything that answers or speed depend on."""
        _wait_briefly()
        info = read_header(self.path)
        if self.chat and info.chat_template is None:
            raise ConfigError(f"{self.name}: {self.path} has no chat template (a base model?): set chat: false")
        lib = llama_native.library()
        offload = bool(lib.llama_supports_gpu_offload())
        layers = self._n_gpu_layers if self._n_gpu_layers >= 0 else (info.layers or 0) + 1
        bufts = self._use_extra_bufts
        if bufts is None:
            bufts = bool(safe_params(self.path).get("use_extra_bufts", True))
        self._settings = replace(
            self._settings,
            n_ctx=min(self._settings.n_ctx, info.context_length or self._settings.n_ctx),
            n_gpu_layers=layers if offload else 0,
            use_extra_bufts=bufts,
        )
        self._settings = replace(self._settings, n_batch=min(self._settings.n_batch, self._settings.n_ctx))
        self._native = llama_native.Native(self.path, self._settings)
        self._prepare_template(info)
        self._served_by = {
            "model": info.name or Path(self.path).name,
            "quantisation": info.quantisation,
            "build": f"llama_cpp {_version()}",
        }
        return self._facts(info, offload)

    def _prepare_template(self, info: GgufInfo) -> None:
        assert self._native is not None
        if self.chat:
            self._template = ChatTemplate(
                info.chat_template or "",
                bos=self._native.token_text("bos"),
                eos=self._native.token_text("eos"),
                args=self.template_args,
            )
            self._fold = not (self.system_role and self._template.has_system)

    def _facts(self, info: GgufInfo, offload: bool) -> dict[str, Any]:
        lib = llama_native.library()
        used = self._settings
        cpu = cpu_library()
        return {
            "backend": "llama_cpp",
            "build": {
                "llama_cpp": _version(),
                "system_info": " ".join(lib.llama_print_system_info().decode().split()),
                "cpu_library_sha256": file_hash(cpu) if cpu else None,
                "gpu_offload": offload,
            },
            "settings": {
                "n_ctx": used.n_ctx,
                "n_batch": used.n_batch,
                "threads": used.threads,
                "n_gpu_layers": used.n_gpu_layers,
                "flash_attn": used.flash_attn,
                "use_extra_bufts": used.use_extra_bufts,
                "overflow": self.overflow,
                "stop": self.stop,
                "seed": self.seed,
            },
            "weights": {
                "file": Path(self.path).name,
                "bytes": info.file_bytes,
                "name": info.name,
                "architecture": info.architecture,
                "quantisation": info.quantisation,
                "context_length": info.context_length,
                "layers": info.layers,
                "licence": info.licence,
                "gguf_version": info.version,
            },
            "prompt": {
                "chat": self.chat,
                "chat_template_hash": stable_hash(info.chat_template) if info.chat_template else None,
                "template_args": self.template_args,
                "system_folded": self._fold,
            },
        }

    def generate(self, request: Request, mark: Mark) -> Completion:
        """One answer: greedy at temperature 0, else drawn with the seed; under the schema where one is asked for."""
        native = self._loaded()
        mark("sent")
        notes: dict[str, Any] = {}
        rules = None
        if request.constrain and request.schema is not None:
            rules, dropped = grammar(request.schema)
            if dropped:
                notes["keywords_not_enforced"] = list(dropped)
        prompt, fixed, truncated = self._prompt(request)
        if self._fold and any(message.role == "system" for message in request.messages):
            notes["system_folded"] = True
        made = native.generate(
            prompt,
            fixed=fixed,
            max_tokens=request.max_tokens,
            grammar=rules,
            closes=rules is not None and closes(request.schema or {}),
            stop=self.stop,
            temperature=request.temperature,
            seed=request.seed if self.seed is None else self.seed,
            cancelled=self.cancelled,
            event=mark,  # type: ignore[arg-type]
        )
        return Completion(
            text=made.text,
            finish_reason=made.finish_reason,
            usage=Usage(input_uncached=len(prompt) - made.reused, cache_read=made.reused, output=made.tokens),
            served_by=self._served_by,
            signals=made.signals,
            truncated_tokens=truncated,
            notes=notes,
        )

    def close(self) -> None:
        """Free the weights."""
        native, self._native = self._native, None
        if native is not None:
            native.close()

    def prompt_text(self, request: Request) -> str:
        """What the model is shown, before any truncation."""
        self._loaded()
        return self._render(request.messages, request)

    def _loaded(self) -> llama_native.Native:
        if self._native is None:
            raise CallFailed("internal", f"{self.name} is not loaded")
        return self._native

    def _render(self, messages: Sequence[Message], request: Request) -> str:
        if self._template is None:
            return plain_prompt(messages, json=request.schema is not None)
        return self._template.render(fold_system(messages) if self._fold else messages)

    def _tokens(self, text: str) -> list[int]:
        # A template that writes the start token itself must not get a second one.
        bos = self._loaded().token_text("bos")
        return self._loaded().tokenise(text, special=self.chat, add_bos=not (bos and text.startswith(bos)))

    def _prompt(self, request: Request) -> tuple[list[int], int, int]:
        """Prompt tokens, how many at their head do not depend on the document, and how many were cut out."""
        text = self._render(request.messages, request)
        tokens = self._tokens(text)
        document = _document(request)
        room = self._settings.n_ctx - request.max_tokens
        if len(tokens) <= room:
            return tokens, self._fixed(text, tokens, document), 0
        said = f"{len(tokens):,} tokens + {request.max_tokens:,} > n_ctx {self._settings.n_ctx:,}"
        if self.overflow == "error":
            raise CallFailed("context_length", f"prompt of {said}: raise n_ctx or set overflow: truncate_middle")
        short, kept, text = self._cut(request, document, len(tokens) - room, room, said)
        return short, self._fixed(text, short, kept), len(tokens) - len(short)

    def _cut(self, request: Request, document: str, excess: int, room: int, said: str) -> tuple[list[int], str, str]:
        """Cut the middle out of the document until the prompt fits."""
        native = self._loaded()
        words = native.tokenise(document, special=False)
        while True:
            # Cutting changes how the edges tokenise: a little more than needed, and again if it was not enough.
            keep = len(words) - excess - 16
            if keep < 16:
                raise CallFailed("context_length", f"prompt of {said}: too long even without the document")
            head, tail = native.text(words[: keep - keep // 2]), native.text(words[-(keep // 2) :])
            kept = head.rstrip("\ufffd") + _GAP + tail.lstrip("\ufffd")
            text = self._render(_replaced(request.messages, document, kept), request)
            tokens = self._tokens(text)
            if len(tokens) <= room:
                return tokens, kept, text
            excess += len(tokens) - room

    def _fixed(self, text: str, tokens: Sequence[int], document: str) -> int:
        """How many tokens at the head of the prompt are the same for every document."""
        at = text.rfind(document.strip()) if document.strip() else -1
        if at <= 0:
            return 0
        head = text[:at]
        if head not in self._heads:
            self._heads = {head: self._tokens(head)}
        known = self._heads[head][:-_HEAD_MARGIN]
        if list(tokens[: len(known)]) != known or len(known) < _LEAST_HEAD:
            return 0
        return len(known)


def _never() -> bool:
    return False


def _wait_briefly() -> None:
    """Let threads spin for some microseconds at each barrier, then sleep, unless the user said otherwise.

    Measured with SmolLM2 on two busy cores: sleeping at once (`OMP_WAIT_POLICY=passive`) decodes 0.5 x as fast,
    spinning without end 0.4 x, since the threads then starve each other. Set before the library is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
        os.environ.setdefault("KMP_BLOCKTIME", "1")


def _document(request: Request) -> str:
    """The document's text inside the last user message; that whole message where it cannot be told."""
    users = [message.content for message in request.messages if message.role == "user"]
    last = users[-1] if users else ""
    text = request.inputs.get("text")
    return text if isinstance(text, str) and text.strip() and text in last else last


def _replaced(messages: Sequence[Message], old: str, new: str) -> list[Message]:
    """`new` for `old` in the last user message."""
    out = list(messages)
    for at in range(len(out) - 1, -1, -1):
        if out[at].role == "user":
            head, _, tail = out[at].content.rpartition(old)
            out[at] = Message(role="user", content=head + new + tail)
            break
    return out


def _version() -> str:
    import llama_cpp

    return str(llama_cpp.__version__)


def cores() -> int:
    """Physical cores this process may use: a second thread on a core only slows llama.cpp down."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for cpu in allowed:
        try:
            siblings.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            siblings.add(str(cpu))
    return max(1, min(len(siblings), _quota()))


def _quota() -> int:
    """Cores a container's limit leaves, rounded up."""
    try:
        share, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return -(-int(share) // int(period))
    except (OSError, ValueError):
        return os.cpu_count() or 1
