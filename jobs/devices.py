"""Devices that a worker may be pinned to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device, as a worker and its kinds see it."""

    type: str  #: ``cpu`` or ``cuda``
    name: str  #: for people, such as ``cpu`` or ``NVIDIA H100 80GB``
    uuid: str | None = None  #: value for ``CUDA_VISIBLE_DEVICES``; a GPU's or a MIG slice's
    memory_bytes: int = 0  #: how much of its memory models may fill

    @property
    def torch_name(self) -> str:
        """Name for torch. A pinned worker sees only its own GPU, which is then number 0."""
        return "cuda:0" if self.type == "cuda" else "cpu"
