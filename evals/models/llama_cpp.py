"""A quantised GGUF model, in this process, through llama.cpp.

`LlamaCpp` is `Batched`: `engine/worker` builds it in a child and hands it as many documents as it has slots. Answers
depend on weights, build, threads, batch size and flash attention: `load` reports all of them for the manifest. They do
not depend on which documents came before; on those decoded beside them they do by rounding alone (see `slots`).
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from evals.errors import ConfigError
from evals.models import llama_native, memory
from evals.models.gguf import GgufInfo, read_header
from evals.models.llama_probe import cpu_library, file_hash, safe_params
from evals.models.llama_tune import Asked, Tuned, tuned
from evals.models.prompts import Overflow
from evals.models.slotted import Slotted

SLOTS = 8
"""Documents in hand at once where nothing else is said or measured."""


class LlamaCpp(Slotted):
    """One GGUF file, answering as many requests at once as it has slots.

    `chat=False` is for base models: the messages become plain text (`chat_template.plain_prompt`). `n_ctx` is what one
    document and its answer may take, cut to what the model was trained on. `n_gpu_layers=-1` means all, where the build
    can. `use_extra_bufts=None` asks the probe what is safe here. `system_role=False` always moves the system message
    into the first user turn, True does so only where the template has no place for it. `seed` replaces the request's.
    `template_args` are handed to the chat template, such as `{enable_thinking: false}`. `jump_forward=False` decodes
    what the schema fixes instead of feeding it. What is left `None` of `threads, processes, slots, n_batch` and
    `flash_attn` is measured once on this machine (`llama_tune`); `tune=off` takes plain values instead, `tune=again`
    measures anew. `batch_invariant=True` evaluates only so many tokens together that no answer depends on which
    documents are decoded beside it, nor on jumping; `None` does so where it was measured to cost next to nothing.
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
        processes: int | None = None,
        slots: int | None = None,
        n_batch: int | None = None,
        flash_attn: bool | None = None,
        tune: Literal["auto", "off", "again"] = "auto",
        jump_forward: bool = True,
        batch_invariant: bool | None = None,
        use_extra_bufts: bool | None = None,
        overflow: Overflow = "error",
        system_role: bool = True,
        stop: Sequence[str] = (),
        seed: int | None = None,
        template_args: Mapping[str, Any] | None = None,
    ) -> None:
        if tune not in ("auto", "off", "again"):
            raise ConfigError(f"{name}: tune={tune!r}: auto, off or again")
        if tune == "off" and batch_invariant:
            raise ConfigError(f"{name}: batch_invariant=true is found by measuring: not with tune=off")
        counts = {"processes": processes, "threads": threads, "slots": slots, "n_batch": n_batch}
        self._asked = Asked(
            **counts, flash_attn=flash_attn, use_extra_bufts=use_extra_bufts, batch_invariant=batch_invariant
        )
        super().__init__(
            name=name,
            chat=chat,
            overflow=overflow,
            system_role=system_role,
            stop=stop,
            seed=seed,
            jump_forward=jump_forward,
            template_args=template_args,
            least_one={"n_ctx": n_ctx, **counts},
        )
        self.path = str(Path(path).expanduser())
        self._n_gpu_layers = n_gpu_layers
        self._tune = tune
        self._tuned: Tuned | None = None
        self._measuring_s = 0.0
        """Spent on measuring settings in this load: once a machine, no part of loading."""
        self._follows = False
        self._processes = processes or 1
        self._settings = llama_native.NativeSettings(
            n_ctx=n_ctx,
            n_batch=n_batch or 512,
            threads=threads or max(1, cores() // (processes or 1)),
            flash_attn=flash_attn is not False,
            slots=slots or SLOTS,
        )

    def follow(self, facts: Mapping[str, Any]) -> None:
        """Load as another process of this model did: with its settings, measuring nothing."""
        keys = ("threads", "n_batch", "flash_attn", "n_ctx", "use_extra_bufts", "decode_rows")
        given = {key: facts["settings"][key] for key in keys}
        self._settings = replace(self._settings, **given, slots=facts["capacity"]["slots"])
        self._processes = facts["capacity"]["processes"]
        self._tuned = None if facts["tuned"] is None else Tuned(**facts["tuned"])
        self._follows = True

    def load(self) -> Mapping[str, Any]:
        """Check the file, load it, and say everything that answers or speed depend on."""
        wait_briefly()
        info = read_header(self.path)
        if self.chat and info.chat_template is None:
            raise ConfigError(f"{self.name}: {self.path} has no chat template (a base model?): set chat: false")
        bufts = self._settings.use_extra_bufts if self._follows else self._asked.use_extra_bufts
        if bufts is None:  # asked before the library is loaded here: a build that dies is told by the probe
            bufts = bool(safe_params(self.path).get("use_extra_bufts", True))
        offload = bool(llama_native.library().llama_supports_gpu_offload())
        layers = self._n_gpu_layers if self._n_gpu_layers >= 0 else (info.layers or 0) + 1
        n_ctx = min(self._settings.n_ctx, info.context_length or self._settings.n_ctx)
        wanted = replace(
            self._settings,
            n_ctx=n_ctx,
            n_batch=min(self._settings.n_batch, n_ctx),
            n_gpu_layers=layers if offload else 0,
            use_extra_bufts=bufts,
        )
        free = memory.free_memory()
        native = self._native = llama_native.Native(self.path, wanted)
        if not self._follows:  # what follows, follows what was planned for all
            if self._tune != "off" and self._asked.open:
                wanted = self._fastest(native, wanted, info.file_bytes, free)
                if wanted.use_extra_bufts != bufts:
                    native.close()
                    native = self._native = llama_native.Native(self.path, wanted)
            free = free if free is None else free // self._processes
        self._plan = memory.open_context(native, wanted, free, self.name, weights=info.file_bytes)
        self._settings = self._plan.settings
        self._prepare(
            info.chat_template,
            model=info.name or Path(self.path).name,
            quantisation=info.quantisation,
            build=f"llama_cpp {_version()}",
        )
        return self._facts(info, offload)

    def _fastest(
        self, native: llama_native.Native, wanted: llama_native.NativeSettings, weights: int, free: int | None
    ) -> llama_native.NativeSettings:
        """What was measured to be fastest here, in the memory that is free."""
        each, began = native.cache_bytes_per_token(), time.monotonic()

        def room(processes: int) -> int:
            return memory.room(wanted, each, free, weights=weights, processes=processes)

        again = self._tune == "again"
        found = self._tuned = tuned(self.path, wanted, self._asked, cores(), room=room, again=again)
        self._measuring_s = time.monotonic() - began
        self._processes = found.processes
        return replace(
            wanted,
            threads=found.threads,
            slots=found.slots,
            n_batch=min(found.n_batch, wanted.n_ctx),
            flash_attn=found.flash_attn,
            use_extra_bufts=found.use_extra_bufts,
            decode_rows=found.decode_rows,
        )

    def _facts(self, info: GgufInfo, offload: bool) -> dict[str, Any]:
        lib = llama_native.library()
        used = self._settings
        cpu = cpu_library()
        return {
            "backend": "llama_cpp",
            "capacity": {"slots": used.slots, "processes": self._processes},
            "tuned": asdict(self._tuned) if self._tuned else None,
            "measuring_s": round(self._measuring_s, 3),
            "memory": self._plan.facts(),
            "build": {
                "llama_cpp": _version(),
                "system_info": " ".join(lib.llama_print_system_info().decode().split()),
                "cpu_library_sha256": file_hash(cpu) if cpu else None,
                "gpu_offload": offload,
            },
            "settings": {
                **self._chosen(),
                "threads": used.threads,
                "n_gpu_layers": used.n_gpu_layers,
                "flash_attn": used.flash_attn,
                "use_extra_bufts": used.use_extra_bufts,
                "decode_rows": used.decode_rows,
            },
            "weights": {
                "file": Path(self.path).name,
                "bytes": info.file_bytes,
                "name": info.name,
                "architecture": info.architecture,
                "quantisation": info.quantisation,
                "requantised_from": info.requantised_from,
                "context_length": info.context_length,
                "layers": info.layers,
                "licence": info.licence,
                "gguf_version": info.version,
            },
            "prompt": self._shown(info.chat_template),
        }


def wait_briefly() -> None:
    """Let threads spin for some microseconds at each barrier, then sleep, unless the user said otherwise.

    Measured with SmolLM2 on two busy cores: sleeping at once (`OMP_WAIT_POLICY=passive`) decodes 0.5 x as fast,
    spinning without end 0.4 x, since the threads then starve each other. Set before the library is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
        os.environ.setdefault("KMP_BLOCKTIME", "1")


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
