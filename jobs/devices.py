"""Devices that a worker may be pinned to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


class DeviceUnusable(Exception):
    """A worker's process cannot compute on its device; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device, or a share of one, as a worker and its kinds see it; the first one of a group, with the others."""

    type: str  #: ``cpu`` or ``cuda``
    name: str  #: for people, such as ``cpu`` or ``NVIDIA H100 80GB``
    uuid: str | None = None  #: value for ``CUDA_VISIBLE_DEVICES``; a GPU's or a MIG slice's
    memory_bytes: int = 0  #: how much of its memory the worker may fill; 0: not known
    share: float = 1.0  #: the part of the device's memory that this is
    number: int = 0  #: among the GPUs that a process sees
    beside: tuple[
        Device, ...
    ] = ()  #: further devices of the same worker, which its trainings use too

    @property
    def torch_name(self) -> str:
        """Name for torch. A pinned worker sees only its own GPU, which is then number 0."""
        return f"cuda:{self.number}" if self.type == "cuda" else "cpu"

    @property
    def group(self) -> tuple[Device, ...]:
        """This one and those beside it, each by itself, numbered as a process counts that sees them all."""
        alone = (replace(self, beside=()), *self.beside)
        return tuple(replace(one, number=number) for number, one in enumerate(alone))

    def joined(self, others: Iterable[Device]) -> Device:
        """This one as the first of a group."""
        return replace(self, beside=tuple(others))

    def divided(self, count: int) -> list[Device]:
        """Equal shares of its memory, one for each of so many workers."""
        share = replace(
            self, memory_bytes=self.memory_bytes // count, share=round(self.share / count, 6)
        )
        return [share] * count

    def to_json(self) -> dict[str, Any]:
        """JSON values of all fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Device:
        """What :meth:`to_json` gave.

        Raises:
            TypeError: it is something else.
        """
        beside = tuple(cls.from_json(one) for one in value.get("beside", ()))
        return cls(**{**value, "beside": beside})
