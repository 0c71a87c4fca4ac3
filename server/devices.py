"""Which devices of this host the workers shall use, in a process that never touches CUDA."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import psutil
import structlog

from jobs.devices import Device
from jobs.errors import InvalidRequest
from workers import nvml
from workers.nvml import Gpu, Slice

log = structlog.get_logger(__name__)

#: Most workers on one device.
_MOST_SHARES = 16

#: Most devices of one worker.
_MOST_TOGETHER = 64

_EXPECTED = (
    "expected auto, cpu, or a comma list of cuda:GPU, cuda:GPU:SLICE and UUIDs, each with *N behind it for "
    "N workers that share the device, or with + between those that one worker trains on"
)


def find_devices(wanted: str, visible: str | None = None) -> list[Device]:
    """The devices that a worker host should use, one for each worker.

    Args:
        wanted: ``auto`` (every GPU and MIG slice, else the CPU), or a comma list of ``cpu``, ``cuda`` (all),
            ``cuda:1`` (by number), ``cuda:1:0`` (a MIG slice) and UUIDs or their beginnings. ``*2`` behind
            a name means two workers, each with half of the device's memory; ``+`` between names one worker that
            has them all.
        visible: ``CUDA_VISIBLE_DEVICES`` of this process: what others left for it. Numbers in it count as NVML
            does, which is CUDA's own order when ``CUDA_DEVICE_ORDER`` is ``PCI_BUS_ID`` or all GPUs are alike.

    Raises:
        InvalidRequest: the host has no such device, or its driver does not work.
    """
    items = [_item(item) for item in wanted.split(",")]
    asks_for_gpus = any(part != "cpu" for name, _ in items for part in _parts(name))
    host = Host(_visible(_gpus(wanted), visible) if asks_for_gpus else [])
    found: list[Device] = []
    taken: set[str] = set()
    for name, count in items:
        parts = _parts(name)
        devices = host.named(name) if len(parts) == 1 else [_together(host, parts, name)]
        for device in devices:
            places = {_place(one) for one in device.group}
            if places & taken:
                raise _wrong(
                    f"{device.name} is named twice; {name}*2 makes two workers on it", wanted
                )
            taken |= places
            found += device.divided(count)
    return found


class Host:
    """The devices of this host."""

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self._gpus = gpus

    def named(self, name: str) -> list[Device]:
        """The devices that a name stands for.

        Raises:
            InvalidRequest: there are none.
        """
        if name == "cpu":
            return [_cpu()]
        if name in ("auto", "cuda"):
            return self._all(name)
        number = re.fullmatch(r"(?:cuda:)?(\d{1,4})(?::(\d{1,4}))?", name)
        if number is not None:
            return self._numbered(name, int(number[1]), number[2])
        if name.lower().startswith(("gpu-", "mig-")):
            return self._identified(name)
        raise _wrong(f"{_EXPECTED}; this host has {self}", name)

    def __str__(self) -> str:
        """All devices, in the words that choose them."""
        return ", ".join([*map(_shown, self._gpus), "cpu"]) if self._gpus else "cpu and no GPU"

    def _all(self, name: str) -> list[Device]:
        usable = []
        for gpu in self._gpus:
            if gpu.fault is not None:
                log.warning("GPU left out", gpu=gpu.number, reason=gpu.fault)
            elif gpu.is_mig and not gpu.slices:
                log.warning("GPU left out", gpu=gpu.number, reason="in MIG mode, without a slice")
            usable += _devices(gpu)
        if usable:
            return usable
        if any(gpu.fault for gpu in self._gpus) or name == "cuda":
            raise _wrong(f"no GPU can be used; this host has {self}", name)
        return [_cpu()]

    def _numbered(self, name: str, number: int, place: str | None) -> list[Device]:
        gpu = next((gpu for gpu in self._gpus if gpu.number == number), None)
        if gpu is None:
            raise _wrong(f"no such device; this host has {self}", name)
        if gpu.fault is not None:
            raise _wrong(f"the GPU does not answer: {gpu.fault}", name)
        devices = _devices(gpu)
        if place is not None:
            devices = devices[int(place) : int(place) + 1] if gpu.is_mig else []
        if not devices:
            raise _wrong(f"no such MIG slice; this host has {self}", name)
        return devices

    def _identified(self, prefix: str) -> list[Device]:
        found = []
        for gpu in self._gpus:
            devices = _devices(gpu)
            if _begins(gpu.uuid, prefix):
                found.append(devices)  # a GPU in MIG mode stands for all of its slices
            else:
                found += [[device] for device in devices if _begins(device.uuid or "", prefix)]
        if len(found) != 1:
            which = "several devices" if found else "no device"
            raise _wrong(f"{which} whose UUID begins so; this host has {self}", prefix)
        return found[0]


def _item(text: str) -> tuple[str, int]:
    """A name and the number of workers that share it."""
    name, star, count = text.strip().partition("*")
    name, count = name.strip(), count.strip()
    if star and not (count.isdecimal() and 1 <= int(count) <= _MOST_SHARES):
        raise _wrong(f"expected 1 to {_MOST_SHARES} workers behind *", text.strip())
    if not name:
        raise _wrong(_EXPECTED, text)
    if star and "+" in name:
        raise _wrong("devices with + between them have one worker: expected no *", text.strip())
    return name, int(count) if star else 1


def _parts(name: str) -> list[str]:
    return [part.strip() for part in name.split("+")]


def _place(device: Device) -> str:
    return device.uuid or device.type


def _together(host: Host, parts: Sequence[str], name: str) -> Device:
    """One worker's devices, the first of which it uses for everything but trainings.

    Raises:
        InvalidRequest: processes on them could not train together.
    """
    if any(part in ("auto", "cuda", "") for part in parts):
        raise _wrong("expected single devices around +", name)
    if len(parts) > _MOST_TOGETHER:
        raise _wrong(f"expected at most {_MOST_TOGETHER} devices with + between them", name)
    first, *others = [device for part in parts for device in host.named(part)]
    every = (first, *others)
    if len({one.type for one in every}) > 1:
        raise _wrong("expected devices of one type around +: processors or GPUs", name)
    if any((one.uuid or "").startswith("MIG-") for one in every):
        raise _wrong("slices of a GPU cannot train together: expected whole GPUs around +", name)
    if first.type != "cpu" and len(set(map(_place, every))) < len(every):
        raise _wrong("a GPU is named twice", name)
    return first.joined(others)


def _cpu() -> Device:
    memory = psutil.virtual_memory().total
    return Device(type="cpu", name=platform.machine() + " cpu", memory_bytes=memory)


def _gpus(wanted: str) -> list[Gpu]:
    try:
        with nvml.session():
            return nvml.gpus()
    except nvml.NoDriver:
        return []
    except nvml.NvmlFault as fault:
        raise _wrong(
            f"the NVIDIA driver does not work ({fault}); mend it, or use only the CPU with --devices cpu",
            wanted,
        ) from fault


def _devices(gpu: Gpu) -> list[Device]:
    """What can be worked on: the GPU, or its slices and never the GPU itself."""
    if gpu.fault is not None:
        return []
    units: Sequence[Gpu | Slice] = gpu.slices if gpu.is_mig else [gpu]
    return [
        Device(type="cuda", name=one.name, uuid=one.uuid, memory_bytes=one.memory_bytes)
        for one in units
    ]


def _visible(gpus: Iterable[Gpu], visible: str | None) -> list[Gpu]:
    """What ``CUDA_VISIBLE_DEVICES`` leaves of the GPUs, by their numbers of before, and of their slices.

    As CUDA does, it counts up to the first entry that names nothing: empty and ``-1`` hide all.
    """
    gpus = list(gpus)
    if visible is None:
        return gpus
    kept: set[str] = set()
    for entry in (part.strip() for part in visible.split(",")):
        matching = set(_matching(gpus, entry))
        if not matching:
            break
        kept |= matching
    return [_narrowed(gpu, kept) for gpu in gpus if not kept.isdisjoint(_names(gpu))]


def _names(gpu: Gpu) -> list[str]:
    # A GPU that does not answer has no UUID.
    return [gpu.uuid or str(gpu.number), *(one.uuid for one in gpu.slices)]


def _matching(gpus: Sequence[Gpu], entry: str) -> Iterator[str]:
    for gpu in gpus:
        own = _names(gpu)[0]
        if entry == str(gpu.number) or (entry and _begins(gpu.uuid, entry)):
            yield own
        else:
            yield from (one.uuid for one in gpu.slices if entry and _begins(one.uuid, entry))


def _narrowed(gpu: Gpu, kept: set[str]) -> Gpu:
    if _names(gpu)[0] in kept:
        return gpu
    return replace(gpu, slices=tuple(one for one in gpu.slices if one.uuid in kept))


def _begins(uuid: str, prefix: str) -> bool:
    return uuid.lower().startswith(prefix.lower())


def _shown(gpu: Gpu) -> str:
    if gpu.fault is not None:
        return f"cuda:{gpu.number} (does not answer: {gpu.fault})"
    if gpu.is_mig and not gpu.slices:
        return f"cuda:{gpu.number} (in MIG mode, without a slice)"
    if gpu.is_mig:
        return ", ".join(
            f"cuda:{gpu.number}:{place} ({one.name}, {one.uuid})"
            for place, one in enumerate(gpu.slices)
        )
    return f"cuda:{gpu.number} ({gpu.name}, {gpu.uuid})"


def _wrong(reason: str, value: str) -> InvalidRequest:
    return InvalidRequest.of("devices", reason, value)
