"""The state of one pool child: built by the process's first signal, gone with the process.

Celery calls tasks as plain functions, so what they work with must be found from a module; this is the only one that
holds any, and only for the process it was installed in.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

import psutil

from jobs.devices import Device
from workers.presence import Presence
from workers.runtime import Runtime
from workers.work import ModelWorker

#: Share of a device's memory that models may fill; the rest is for activations.
_MODEL_SHARE = 0.6


@dataclass(frozen=True)
class WorkerProcess:
    """One pool child."""

    runtime: Runtime
    presence: Presence

    @cached_property
    def model_worker(self) -> ModelWorker:
        """Made at the first invitation: torch is imported only once the child is up.

        Raises:
            DeviceUnusable: torch cannot compute on the worker's device.
        """
        from nlp.accelerator import take_device  # noqa: PLC0415  (torch)
        from nlp.cache import ModelCache  # noqa: PLC0415  (torch)

        device = self.runtime.device
        if device is None:
            raise RuntimeError("a control worker was invited to work")
        take_device(device)
        budget = self.runtime.settings.model_cache_bytes or _default_budget(device)
        return ModelWorker(self.runtime, ModelCache(budget, device), self.presence)


def _default_budget(device: Device) -> int:
    memory = device.memory_bytes or psutil.virtual_memory().total
    return int(memory * _MODEL_SHARE)


_installed: dict[int, WorkerProcess] = {}


def install(process: WorkerProcess) -> None:
    """Make this the state of the running process."""
    _installed.clear()
    _installed[os.getpid()] = process


def current() -> WorkerProcess:
    """The state of the running process."""
    return _installed[os.getpid()]
