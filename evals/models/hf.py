"""Any causal language model through transformers, in this process: several documents decoded together.

`Transformers` is `Batched`, as `LlamaCpp` is, and shares with it all that is not the library's: prompts, schemas,
slots, the choice of tokens, confidence. So the same weights are asked in the same way by both, and differ by the
arithmetic of the two libraries alone. Answers depend on weights, dtype, device, threads and, by rounding, on which
documents were decoded beside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evals.errors import ConfigError
from evals.models import memory
from evals.models.constraint import llguidance
from evals.models.hf_load import Dtype, Loaded, Quantise, Wanted, free_memory, libraries, load
from evals.models.hf_native import SlotModel
from evals.models.llama_cpp import cores
from evals.models.llama_native import NativeSettings
from evals.models.prompts import Overflow
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
        super().__init__(
            name=name,
            chat=chat,
            overflow=overflow,
            system_role=system_role,
            stop=stop,
            seed=seed,
            jump_forward=jump_forward,
            template_args=template_args,
            least_one={"n_ctx": n_ctx, "n_batch": n_batch, "threads": threads, "slots": slots},
        )
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

    def load(self) -> Mapping[str, Any]:
        """Load the weights, and say everything that answers or speed depend on."""
        loaded = load(self._wanted, threads=self._settings.threads)
        if self.chat and loaded.template is None:
            raise ConfigError(f"{self.name}: {loaded.name} has no chat template (a base model?): set chat: false")
        n_ctx = min(self._settings.n_ctx, loaded.context or self._settings.n_ctx)
        wanted = replace(self._settings, n_ctx=n_ctx, n_batch=min(self._settings.n_batch, n_ctx))
        native = self._native = SlotModel(loaded, wanted)
        self._plan = memory.plan(wanted, native.bytes_each, free_memory(loaded))
        self._settings = self._plan.settings
        native.open(self._settings)
        memory.say(self._plan, wanted, self.name)
        self._prepare(
            loaded.template,
            model=loaded.name,
            quantisation=loaded.quantisation,
            build=f"transformers {libraries()[1].__version__}",
        )
        return self._facts(loaded)

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
                **self._chosen(),
                "device": loaded.device.type,
                "dtype": loaded.dtype,
                "quantise": self._wanted.quantise,
                "threads": torch.get_num_threads(),
            },
            "weights": dict(loaded.weights),
            "prompt": self._shown(loaded.template),
        }
