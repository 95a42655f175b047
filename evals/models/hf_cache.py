"""Keys and values of every slot, layer by layer, as transformers' models ask for a cache. Imports torch: from
`hf_native` alone, and only once a model is there."""

import functools
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class _Layer(DynamicLayer):  # type: ignore[misc]
    """`[slots, heads, tokens, head_dim]`; tokens are written where the plan says, nothing is ever moved."""

    def __init__(self, plan: Any, slots: int) -> None:
        super().__init__()
        self.keys: Any = None
        self.values: Any = None
        self._plan, self._slots = plan, slots

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write the packed tokens; hand back the whole buffers, of which `SlotModel.attend` takes each piece's part."""
        self.keys = self._roomy(self.keys, key_states)
        self.values = self._roomy(self.values, value_states)
        at = (self._plan.slots, slice(None), self._plan.places)
        self.keys[at] = key_states[0].transpose(0, 1)
        self.values[at] = value_states[0].transpose(0, 1)
        return self.keys, self.values

    def _roomy(self, held: Any, fresh: Any) -> Any:
        have = 0 if held is None else held.shape[2]
        if have >= self._plan.room:
            return held
        made = fresh.new_zeros(self._slots, fresh.shape[1], self._plan.room, fresh.shape[-1])
        if held is not None:
            made[:, :, :have] = held
        return made

    def get_seq_length(self) -> int:
        """Positions are always given, so nobody needs it."""
        return 0


class SlotCache(Cache):  # type: ignore[misc]
    """The layers of all slots. `plan` says of each forward pass which token goes where."""

    def __init__(self, plan: Any, slots: int) -> None:
        super().__init__(layer_class_to_replicate=functools.partial(_Layer, plan, slots))

    def copy(self, source: int, slot: int, count: int) -> None:
        """The first `count` tokens of one slot into another."""
        with torch.inference_mode():
            for layer in self._filled():
                layer.keys[slot, :, :count] = layer.keys[source, :, :count]
                layer.values[slot, :, :count] = layer.values[source, :, :count]

    def bytes_per_token(self) -> int:
        """Of one slot, over all layers."""
        return sum(
            each.shape[1] * each.shape[3] * each.element_size()
            for layer in self._filled()
            for each in (layer.keys, layer.values)
        )

    def _filled(self) -> list[Any]:
        return [layer for layer in self.layers if layer.keys is not None]
