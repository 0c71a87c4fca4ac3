"""LoRA adapters over a base model that several of them share in memory.

A layer that any adapter changes is wrapped once, in place. Which adapter's matrices it adds is switched between runs:
the base's weights stay as they are, whatever form they have, and an adapter costs its own matrices only.
https://arxiv.org/abs/2106.09685.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from jobs.errors import JobFailure
from nlp.adapter_files import WEIGHTS, AdapterConfig

_LORA = re.compile(r"(?P<layer>.+)\.lora_(?P<part>[AB])(\.default)?\.weight")
_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """What an adapter adds to a layer's output: ``scale * x A^T B^T``."""

    a: Tensor  #: ``[rank, in]``
    b: Tensor  #: ``[out, rank]``
    scale: float

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(functional.linear(x, self.a), self.b) * self.scale


class AdaptedLayer(nn.Module):
    """A layer of a base model, and what the adapter of the moment adds to it."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.delta: Delta | None = None

    @property
    def weight(self) -> Tensor:
        """The base's weight: architectures look at its number format."""
        return cast(Tensor, self.base.weight)

    def forward(self, x: Tensor) -> Tensor:
        """As the layer itself: ``[..., in]`` to ``[..., out]``."""
        y = cast(Tensor, self.base(x))
        return y if self.delta is None else y + self.delta(x.to(self.delta.a.dtype)).to(y.dtype)


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter's weights on the device of its base."""

    deltas: Mapping[str, Delta]  #: by the layer's name below the base model without its head
    own: Mapping[str, Tensor]  #: weights that take the place of the base's, such as a head's

    @property
    def memory_bytes(self) -> int:
        """Bytes that it takes beside the base."""
        tensors = [*self.own.values()]
        tensors += [part for delta in self.deltas.values() for part in (delta.a, delta.b)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class AdaptedBase:
    """A base model whose layers add what one adapter, or none, says.

    Args:
        model: a transformers model; its layers are wrapped as adapters ask for them.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.trunk: nn.Module = (
            model.base_model
        )  #: the model without its head; itself where it has none
        self._prefix = f"{model.base_model_prefix}."
        self._layers: dict[str, AdaptedLayer] = {}
        self._active: Adapter | None = None

    def load(self, folder: Path) -> Adapter:
        """Read an adapter, and make the layers ready for it.

        Raises:
            JobFailure: ``model_unsupported``, it does not fit this base.
            Exception: the device has no room; :func:`nlp.batching.is_out_of_memory` is true for it.
        """
        config = AdapterConfig.read(folder)
        try:
            tensors = load_file(folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise _unsupported(f"{WEIGHTS} cannot be read: {error}") from error
        parameter = next(self.trunk.parameters())
        pairs: dict[str, dict[str, Tensor]] = {}
        own: dict[str, Tensor] = {}
        for full_name, tensor in tensors.items():
            placed = tensor.to(parameter.device, parameter.dtype)
            name = full_name.removeprefix(_PREFIX)
            matched = _LORA.fullmatch(name)
            if matched is not None:
                pairs.setdefault(matched["layer"], {})[matched["part"]] = placed
            elif ".lora_" in name:
                raise _unsupported(f"it changes more than linear layers: {name}")
            else:
                own[name] = placed
        deltas = {self._local(layer): _delta(config, layer, pair) for layer, pair in pairs.items()}
        for layer, delta in deltas.items():
            self._prepare(layer, delta)
        return Adapter(deltas, own)

    def use(self, adapter: Adapter | None) -> None:
        """Let the layers add what this adapter says; None: nothing."""
        if adapter is self._active:
            return
        for name, layer in self._layers.items():
            layer.delta = None if adapter is None else adapter.deltas.get(name)
        self._active = adapter

    def _local(self, layer: str) -> str:
        """The layer's name below the trunk; adapters of models with a head count from the model."""
        return layer.removeprefix(self._prefix)

    def _prepare(self, name: str, delta: Delta) -> None:
        """See that the layer can add this.

        Raises:
            JobFailure: ``model_unsupported``, there is no such layer, or none of this size.
        """
        above, _, leaf = name.rpartition(".")
        try:
            parent = self.trunk.get_submodule(above)
            layer = getattr(parent, leaf)
        except AttributeError:
            raise _unsupported(f"its base has no layer {name}") from None
        known = self._layers.get(name)
        size = _size(layer if known is None else known.base)
        fits = (delta.a.shape[1], delta.b.shape[0])
        if size != fits:
            raise _unsupported(f"expected a linear layer {name} of {fits}, the base has {size}")
        if known is None:
            self._layers[name] = AdaptedLayer(layer)
            setattr(parent, leaf, self._layers[name])


def _size(layer: nn.Module) -> tuple[Any, Any]:
    """Width of a linear layer's inputs and outputs; None for what is no such layer."""
    if type(layer).__name__ == "Conv1D":  # GPT-2's, which knows itself only by its weight
        rows, columns = cast(Tensor, layer.weight).shape
        return rows, columns
    return getattr(layer, "in_features", None), getattr(layer, "out_features", None)


def _delta(config: AdapterConfig, layer: str, pair: Mapping[str, Tensor]) -> Delta:
    a, b = pair.get("A"), pair.get("B")
    if a is None or b is None or a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1]:
        raise _unsupported(f"expected two matrices that fit for layer {layer}")
    return Delta(a, b, config.scale(layer, a.shape[0]))


def _unsupported(reason: str) -> JobFailure:
    return JobFailure("model_unsupported", f"The adapter cannot be used: {reason}.")
