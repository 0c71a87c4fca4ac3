"""What NVML, the driver's own library, says of GPUs and their MIG slices. Touches no CUDA.

Documented at https://docs.nvidia.com/deploy/nvml-api/. Any call may fail at any time: a GPU falls off the bus, a
driver is replaced under a running process, an old driver lacks a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml

Value = TypeVar("Value")

#: What starting NVML answers on a host without a driver, that is without GPUs.
_NO_DRIVER = frozenset(
    {
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    }
)


class NvmlFault(Exception):
    """NVML is there and does not work, or a device does not answer."""


class NoDriver(NvmlFault):
    """The host has no NVIDIA driver."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A MIG slice: a part of a GPU with memory and processors of its own."""

    uuid: str
    name: str
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as NVML counts them, in the order of their PCI addresses."""

    number: int
    uuid: str = ""
    name: str = "GPU"
    memory_bytes: int = 0
    is_mig: bool = False  #: cut into slices: only they can be worked on
    slices: tuple[Slice, ...] = ()
    fault: str | None = None  #: why it cannot be used


@dataclass(frozen=True, kw_only=True)
class DeviceState:
    """How a device does; None is what NVML cannot tell, such as the utilisation of a MIG slice."""

    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    utilization_percent: int | None = None
    temperature_celsius: int | None = None  #: for a slice that of its GPU


@contextmanager
def session() -> Iterator[None]:
    """NVML, started.

    Raises:
        NoDriver: there is none to be started.
        NvmlFault: it does not start, for instance because driver and library are of different versions.
    """
    start()
    try:
        yield
    finally:
        stop()


def start() -> None:
    """Start NVML; see :func:`session`."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        fault = NoDriver if error.value in _NO_DRIVER else NvmlFault
        raise fault(str(error)) from error


def stop() -> None:
    """Stop NVML, as far as it lets."""
    _maybe(pynvml.nvmlShutdown)


def gpus() -> list[Gpu]:
    """All GPUs of the host, those that do not answer too. Only within a session.

    Raises:
        NvmlFault: not even their number can be told.
    """
    try:
        count = int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as error:
        raise NvmlFault(str(error)) from error
    return [_gpu(number) for number in range(count)]


def state(uuid: str) -> DeviceState:
    """How the GPU or slice with this UUID does now. Only within a session.

    Raises:
        NvmlFault: the device does not answer.
    """
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError as error:
        raise NvmlFault(f"{uuid}: {error}") from error
    # A slice has no sensor of its own.
    whole = _maybe(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, handle)
    busy = _maybe(pynvml.nvmlDeviceGetUtilizationRates, handle)
    sensor = pynvml.NVML_TEMPERATURE_GPU
    return DeviceState(
        memory_used_bytes=int(memory.used),
        memory_total_bytes=int(memory.total),
        utilization_percent=None if busy is None else int(busy.gpu),
        temperature_celsius=_maybe(pynvml.nvmlDeviceGetTemperature, whole or handle, sensor),
    )


def _gpu(number: int) -> Gpu:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        mode = _maybe(pynvml.nvmlDeviceGetMigMode, handle)
        is_mig = mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE
        return Gpu(
            number=number,
            uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
            name=str(pynvml.nvmlDeviceGetName(handle)),
            memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            is_mig=is_mig,
            slices=tuple(_slices(handle)) if is_mig else (),
        )
    except pynvml.NVMLError as error:
        return Gpu(number=number, fault=str(error))


def _slices(gpu: Any) -> Iterator[Slice]:
    """The slices of a GPU. Their places may have gaps."""
    for place in range(int(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu))):
        try:
            handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, place)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_NOT_FOUND:
                continue
            raise
        yield Slice(
            uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
            name=str(pynvml.nvmlDeviceGetName(handle)),
            memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        )


def _maybe(ask: Callable[..., Value], *arguments: Any) -> Value | None:
    """What NVML answers, or None where this device or driver cannot tell."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None
