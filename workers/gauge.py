"""How a worker's device does: memory, utilisation, temperature. Cheap enough to be asked with each announcement."""

from __future__ import annotations

import time
from typing import Any

import psutil

from jobs.devices import Device
from workers import nvml

#: What was measured is good for so many seconds: announcements may follow one another quickly.
_FRESH_SECONDS = 2.0


class Gauge:
    """Measures one device and this process. For one thread."""

    def __init__(self, device: Device | None) -> None:
        self._gpu = device.uuid if device and device.type == "cuda" else None
        self._share = device.share if device else 1.0
        self._process = psutil.Process()
        self._session = False
        self._read: dict[str, Any] = {}
        self._good_until = 0.0

    def read(self) -> dict[str, Any]:
        """JSON values: ``process_bytes`` (resident), and for a GPU ``gpu``, None while it does not answer.

        ``gpu`` holds ``memory_used_bytes``, ``memory_total_bytes``, ``utilization_percent`` and
        ``temperature_celsius``, of the whole device with all who use it, and ``share``, the worker's part.
        What NVML cannot tell is None.
        """
        if time.monotonic() >= self._good_until:
            self._read = {"process_bytes": self._process.memory_info().rss}
            if self._gpu is not None:
                self._read["gpu"] = self._of_gpu(self._gpu)
            self._good_until = time.monotonic() + _FRESH_SECONDS
        return self._read

    def _of_gpu(self, uuid: str) -> dict[str, Any] | None:
        try:
            if not self._session:
                nvml.start()
                self._session = True
            state = nvml.state(uuid)
        except nvml.NvmlFault:
            # A driver that was replaced answers again only to those who start anew.
            if self._session:
                nvml.stop()
                self._session = False
            return None
        return {
            "memory_used_bytes": state.memory_used_bytes,
            "memory_total_bytes": state.memory_total_bytes,
            "utilization_percent": state.utilization_percent,
            "temperature_celsius": state.temperature_celsius,
            "share": self._share,
        }
