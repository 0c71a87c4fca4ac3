"""Ways of computing an encoder's vectors: plainly padded, packed, by another engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from nlp.encoders.openvino import REQUESTS, OpenVinoEncoder
from nlp.encoders.packed import PackedEncoder
from nlp.encoders.pooling import Pooling
from nlp.encoders.tokenizing import Tokens


class Way(ABC):
    """From a batch of rows to a vector for each."""

    engine: ClassVar[str] = "torch"
    path: ClassVar[str]  #: how rows are laid out, for people
    at_once: ClassVar[int] = 1  #: batches that are best computed at a time, each in a thread
    dtype: torch.dtype  #: that products are computed in

    @abstractmethod
    def vectors(self, batch: Sequence[Tokens]) -> Tensor:
        """Logits, or embeddings of unit length where the model has no head: ``[rows, n]``, fp32, on the CPU."""


class PaddedWay(Way):
    """transformers' own forward pass over rows of one length, shorter ones padded on the right."""

    path: ClassVar[str] = "padded"

    def __init__(
        self, model: Any, pad_id: int, *, takes_types: bool, pooling: Pooling | None
    ) -> None:
        self.model = model
        self._pad_id = pad_id
        self._takes_types = takes_types
        self._pooling = pooling
        self.dtype = model.dtype

    def around(self, model: Any, pooling: Pooling | None) -> PaddedWay:
        """The same tokens into another model."""
        return PaddedWay(model, self._pad_id, takes_types=self._takes_types, pooling=pooling)

    def vectors(self, batch: Sequence[Tokens]) -> Tensor:
        inputs = padded_inputs(batch, self._pad_id, takes_types=self._takes_types)
        with torch.inference_mode():
            outputs = self._outputs(inputs).float()
            if self._pooling is None:
                return outputs.cpu()
            mask = inputs.get("attention_mask")
            pooled = outputs[:, 0] if self._pooling == "cls" else _mean(outputs, mask)
            return torch.nn.functional.normalize(pooled, dim=1).cpu()

    def _outputs(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits ``[rows, classes]``, or last states ``[rows, tokens, size]``."""
        device = self.model.device
        found = self.model(**{name: tensor.to(device) for name, tensor in inputs.items()})
        return cast(Tensor, found.logits if self._pooling is None else found.last_hidden_state)


def padded_inputs(batch: Sequence[Tokens], pad_id: int, *, takes_types: bool) -> dict[str, Tensor]:
    """What a transformers encoder takes: tensors ``[rows, longest]``, and no mask where nothing is padded."""
    longest = max(len(row) for row in batch)
    pads = [longest - len(row) for row in batch]
    inputs = {
        "input_ids": torch.tensor(
            [row.ids + [pad_id] * pad for row, pad in zip(batch, pads, strict=True)]
        )
    }
    if takes_types:
        inputs["token_type_ids"] = torch.tensor(
            [row.type_ids + [0] * pad for row, pad in zip(batch, pads, strict=True)]
        )
    if any(pads):
        inputs["attention_mask"] = torch.tensor(
            [[1] * len(row) + [0] * pad for row, pad in zip(batch, pads, strict=True)]
        )
    return inputs


class OpenVinoWay(PaddedWay):
    """The same model, converted to OpenVINO.

    Raises:
        JobFailure: as :class:`OpenVinoEncoder` says.
    """

    engine: ClassVar[str] = "openvino"
    at_once: ClassVar[int] = REQUESTS

    def __init__(
        self,
        model: Any,
        pad_id: int,
        dtype: torch.dtype,
        *,
        takes_types: bool,
        pooling: Pooling | None,
    ) -> None:
        super().__init__(model, pad_id, takes_types=takes_types, pooling=pooling)
        self._converted = OpenVinoEncoder(model, dtype, takes_types=takes_types)
        self.dtype = dtype

    def _outputs(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self._converted(inputs)


class PackedWay(Way):
    """Rows end to end, without padding."""

    path: ClassVar[str] = "packed"

    def __init__(
        self, encoder: PackedEncoder, dtype: torch.dtype, *, pooling: Pooling | None
    ) -> None:
        self._encoder = encoder
        self._pooling = pooling
        self.dtype = dtype

    def vectors(self, batch: Sequence[Tokens]) -> Tensor:
        with torch.inference_mode():
            if self._pooling is None:
                return self._encoder.logits(batch).float().cpu()
            if self._pooling == "cls":
                pooled = self._encoder.first_states(batch).float()
            else:
                pooled = self._encoder.mean_states(batch)
            return torch.nn.functional.normalize(pooled, dim=1).cpu()


def _mean(states: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the tokens that are not padding."""
    if mask is None:
        return states.mean(dim=1)
    weights = mask.to(states.device).unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)
