"""Finds the devices of this host through NVML, in a process that never touches CUDA."""

from __future__ import annotations

import platform

import pynvml

from jobs.devices import Device
from jobs.errors import InvalidRequest


def find_devices(wanted: str) -> list[Device]:
    """The devices that a worker host should use.

    Args:
        wanted: ``auto`` (every GPU, else the CPU), ``cpu``, or a comma list such as ``cuda:0,cuda:1``.

    Raises:
        InvalidRequest: the host has no such device.
    """
    if wanted == "cpu":
        return [_cpu()]
    gpus = _gpus()
    if wanted == "auto":
        return gpus or [_cpu()]
    chosen = []
    for name in wanted.split(","):
        scheme, _, number = name.strip().partition(":")
        if name.strip() == "cpu":
            chosen.append(_cpu())
        elif scheme == "cuda" and number.isdigit() and int(number) < len(gpus):
            chosen.append(gpus[int(number)])
        else:
            has = ", ".join(f"cuda:{i} ({gpu.name})" for i, gpu in enumerate(gpus)) or "no GPU"
            raise InvalidRequest.of("devices", f"no such device; this host has {has} and cpu", name)
    return chosen


def _cpu() -> Device:
    return Device(type="cpu", name=platform.machine() + " cpu")


def _gpus() -> list[Device]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []  # no driver, hence no GPU
    try:
        devices = []
        for number in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(number)
            devices.append(
                Device(
                    type="cuda",
                    name=str(pynvml.nvmlDeviceGetName(handle)),
                    uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
                    memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                )
            )
        return devices
    finally:
        pynvml.nvmlShutdown()
