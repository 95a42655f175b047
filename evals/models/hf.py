"""Any causal language model through transformers, in this process: several documents decoded together.

`Transformers` is `Batched`, as `LlamaCpp` is, and shares with it all that is not the library's: prompts, schemas,
slots, the choice of tokens, confidence. So the same weights are asked in the same way by both, and differ by the
arithmetic of the two libraries alone. Answers depend on weights, dtype, device, threads and, by rounding, on which
documents were decoded beside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evals.core import stable_hash
from evals.errors import CallFailed, ConfigError
from evals.models import memory
from evals.models.constraint import Schemas, llguidance
from evals.models.hf_load import Dtype, Loaded, Quantise, Wanted, free_memory, libraries, load
from evals.models.hf_native import SlotModel
from evals.models.llama_cpp import cores
from evals.models.llama_native import NativeSettings
from evals.models.prompts import Overflow, Prompts, template_of
from evals.models.slots import Slots
from evals.models.slotted import Slotted

SLOTS = 16
"""Measured with SmolLM2 on one core: a token of one row takes 66 ms, of eight 19 ms each; more rows share the weights."""


class Transformers(Slotted):
    """A folder, a GGUF (dequantised), or a hub repository at a revision.

    `path` is a folder or a .gguf file; `repo` a hub id, read from the hub's cache on this disk unless `fetch`;
    `gguf_file` a GGUF inside either. `dtype=auto` is bfloat16 on a GPU and float32 on a CPU, `device=auto` what is
    here. `quantise` needs bitsandbytes on CUDA. The other arguments are those of `LlamaCpp`.
    """

    def __init__(
        self,
        *,
        name: str,
        path: str | None = None,
        repo: str | None = None,
        revision: str | None = None,
        gguf_file: str | None = None,
        fetch: bool = False,
        dtype: Dtype = "auto",
        device: str = "auto",
        quantise: Quantise | None = None,
        slots: int | None = None,
        jump_forward: bool = True,
        threads: int | None = None,
        n_ctx: int = 8192,
        n_batch: int = 512,
        chat: bool = True,
        overflow: Overflow = "error",
        system_role: bool = True,
        stop: Sequence[str] = (),
        seed: int | None = None,
        template_args: Mapping[str, Any] | None = None,
    ) -> None:
        if overflow not in ("error", "truncate_middle"):
            raise ConfigError(f"{name}: overflow={overflow!r}: error or truncate_middle")
        for key, value in (("n_ctx", n_ctx), ("n_batch", n_batch), ("threads", threads), ("slots", slots)):
            if value is not None and value < 1:
                raise ConfigError(f"{name}: {key}={value}: at least 1")
        super().__init__()
        self.name = name
        self.stop = [word for word in stop if word]
        self.seed = seed
        self._wanted = Wanted(
            name=name,
            path=path,
            repo=repo,
            revision=revision,
            gguf_file=gguf_file,
            fetch=fetch,
            dtype=dtype,
            device=device,
            quantise=quantise,
        )
        self._settings = NativeSettings(n_ctx=n_ctx, n_batch=n_batch, threads=threads or cores(), slots=slots or SLOTS)
        self._chat, self._system_role, self._jump = chat, system_role, jump_forward
        self._overflow: Overflow = overflow
        self._template_args = dict(template_args or {})
        self._native: SlotModel | None = None

    @property
    def slots(self) -> int:
        """How many requests it takes at once."""
        return self._settings.slots

    def load(self) -> Mapping[str, Any]:
        """Load the weights, and say everything that answers or speed depend on."""
        loaded = load(self._wanted, threads=self._settings.threads)
        if self._chat and loaded.template is None:
            raise ConfigError(f"{self.name}: {loaded.name} has no chat template (a base model?): set chat: false")
        n_ctx = min(self._settings.n_ctx, loaded.context or self._settings.n_ctx)
        wanted = replace(self._settings, n_ctx=n_ctx, n_batch=min(self._settings.n_batch, n_ctx))
        native = self._native = SlotModel(loaded, wanted)
        self._plan = memory.plan(wanted, native.bytes_each, free_memory(loaded))
        self._settings = self._plan.settings
        self.n_ctx = self._settings.n_ctx
        native.open(self._settings)
        memory.say(self._plan, wanted, self.name)
        self._prepare(native)
        return self._facts(loaded)

    def _prepare(self, native: Any) -> None:
        loaded = native.loaded
        template = template_of(native, loaded.template, self._template_args) if self._chat else None
        fold = template is not None and not (self._system_role and template.has_system)
        self._prompts = Prompts(native, template, fold=fold, overflow=self._overflow)
        self._schemas = Schemas(native.tokenizer)
        self._slots = Slots(native, jump_forward=self._jump)
        self._served_by = {
            "model": loaded.name,
            "quantisation": loaded.quantisation,
            "build": f"transformers {libraries()[1].__version__}",
        }

    def _facts(self, loaded: Loaded) -> dict[str, Any]:
        torch, transformers = libraries()
        used, cuda = self._settings, loaded.device.type == "cuda"
        return {
            "backend": "transformers",
            "capacity": {"slots": used.slots, "processes": 1},
            "memory": self._plan.facts(),
            "build": {
                "transformers": transformers.__version__,
                "torch": torch.__version__,
                "llguidance": str(llguidance().__version__),
                "device": torch.cuda.get_device_name(loaded.device) if cuda else loaded.device.type,
            },
            "settings": {
                "device": loaded.device.type,
                "dtype": loaded.dtype,
                "quantise": self._wanted.quantise,
                "threads": torch.get_num_threads(),
                "n_ctx": used.n_ctx,
                "n_batch": used.n_batch,
                "slots": used.slots,
                "jump_forward": self._jump,
                "overflow": self._overflow,
                "stop": self.stop,
                "seed": self.seed,
            },
            "weights": dict(loaded.weights),
            "prompt": {
                "chat": self._chat,
                "chat_template_hash": stable_hash(loaded.template) if loaded.template else None,
                "template_args": self._template_args,
                "system_folded": self._prompts.fold,
            },
        }

    def close(self) -> None:
        """Free the weights."""
        native, self._native = self._native, None
        if native is not None:
            native.close()

    def _ready(self) -> None:
        if self._native is None:
            raise CallFailed("internal", f"{self.name} is not loaded")
