"""NVML of a host that is not there: found before the real ``pynvml`` where this folder is on the path first.

Four GPUs of 80 GB, the third of them in two MIG slices, of 40 and 20 GB. ``FAKE_NVML`` in the environment adds faults:
a comma list of ``mismatch`` (driver and library differ), ``no-driver``, ``lost:N`` (GPU N fell off the bus) and
``empty-mig:N`` (GPU N is in MIG mode and has no slice).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NOT_FOUND = 6
NVML_ERROR_DRIVER_NOT_LOADED = 9
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_GPU_IS_LOST = 15
NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18
NVML_DEVICE_MIG_ENABLE = 1
NVML_TEMPERATURE_GPU = 0

_TEXTS = {
    NVML_ERROR_NOT_SUPPORTED: "Not Supported",
    NVML_ERROR_NOT_FOUND: "Not Found",
    NVML_ERROR_DRIVER_NOT_LOADED: "Driver Not Loaded",
    NVML_ERROR_GPU_IS_LOST: "GPU is lost",
    NVML_ERROR_LIB_RM_VERSION_MISMATCH: "RM has detected an NVML/RM version mismatch.",
}
_MIG = 2
_SIZES = (40, 20)


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(_TEXTS[value])
        self.value = value


@dataclass(frozen=True)
class Handle:
    number: int
    place: int | None = None


@dataclass(frozen=True)
class Memory:
    total: int
    used: int


@dataclass(frozen=True)
class Utilization:
    gpu: int


def _faults() -> list[str]:
    return os.environ.get("FAKE_NVML", "").split(",")


def nvmlInit() -> None:
    if "mismatch" in _faults():
        raise NVMLError(NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    if "no-driver" in _faults():
        raise NVMLError(NVML_ERROR_DRIVER_NOT_LOADED)


def nvmlShutdown() -> None:
    """Nothing was started."""


def nvmlDeviceGetCount() -> int:
    return 4


def nvmlDeviceGetHandleByIndex(number: int) -> Handle:
    if f"lost:{number}" in _faults():
        raise NVMLError(NVML_ERROR_GPU_IS_LOST)
    return Handle(number)


def nvmlDeviceGetHandleByUUID(uuid: str) -> Handle:
    for number in range(4):
        for place in (None, 0, 1):
            handle = Handle(number, place)
            if nvmlDeviceGetUUID(handle) == uuid:
                nvmlDeviceGetHandleByIndex(number)
                return handle
    raise NVMLError(NVML_ERROR_NOT_FOUND)


def nvmlDeviceGetUUID(handle: Handle) -> str:
    if handle.place is not None:
        return f"MIG-{handle.place}0000000-aaaa-bbbb-cccc-00000000000{handle.number}"
    return f"GPU-{handle.number}0000000-1111-2222-3333-444444444444"


def nvmlDeviceGetName(handle: Handle) -> str:
    name = "NVIDIA H100 80GB HBM3"
    return name if handle.place is None else f"{name} MIG {4 - 2 * handle.place}g.{_size(handle)}gb"


def _size(handle: Handle) -> int:
    return 80 if handle.place is None else _SIZES[handle.place]


def nvmlDeviceGetMemoryInfo(handle: Handle) -> Memory:
    return Memory(total=_size(handle) << 30, used=handle.number + 1 << 30)


def nvmlDeviceGetMigMode(handle: Handle) -> tuple[int, int]:
    if handle.number == 0:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    mode = int(handle.number == _MIG or f"empty-mig:{handle.number}" in _faults())
    return mode, mode


def nvmlDeviceGetMaxMigDeviceCount(handle: Handle) -> int:
    return 7


def nvmlDeviceGetMigDeviceHandleByIndex(handle: Handle, index: int) -> Handle:
    places = {1: 0, 4: 1} if handle.number == _MIG else {}
    if index not in places:
        raise NVMLError(NVML_ERROR_NOT_FOUND)
    return Handle(handle.number, places[index])


def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle: Handle) -> Handle:
    return Handle(handle.number)


def nvmlDeviceGetUtilizationRates(handle: Handle) -> Utilization:
    if handle.place is not None:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return Utilization(gpu=10 * handle.number)


def nvmlDeviceGetTemperature(handle: Handle, sensor: int) -> int:
    if handle.place is not None:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return 40 + handle.number
