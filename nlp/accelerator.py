"""Whether torch can use the device that a worker was pinned to, and how much of it."""

from __future__ import annotations

from typing import Any

import torch

from jobs.devices import Device, DeviceUnusable


def take_device(device: Device) -> None:
    """Make sure that torch can use the device, and keep this process to its share of the memory.

    Raises:
        DeviceUnusable: it cannot.
    """
    if device.type != "cuda":
        return
    backend: Any = torch.backends.cuda  # has no types
    if not backend.is_built():
        raise DeviceUnusable(
            f"torch {torch.__version__} is built without CUDA and cannot use {device.name}; install a build "
            "with it, or start the worker with --devices cpu"
        )
    try:
        seen = torch.cuda.device_count()
        if seen:
            torch.zeros(1, device=device.torch_name).add_(1).item()
    except (RuntimeError, AssertionError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise DeviceUnusable(f"torch cannot use {device.name}: {first_line}") from error
    if not seen:
        raise DeviceUnusable(f"torch sees no GPU where CUDA_VISIBLE_DEVICES is {device.uuid}")
    if device.share < 1:
        torch.cuda.set_per_process_memory_fraction(device.share, device.torch_name)
