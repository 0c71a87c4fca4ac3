"""What was measured on."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import psutil

from server.devices import find_devices


def describe_machine() -> dict[str, Any]:
    """Processor, memory, devices and versions; and how busy the machine was with other things."""
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "devices": [device.name for device in find_devices("auto")],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(psutil.getloadavg()[0], 2),
    }


def fast_dtype() -> str:
    """The format that plain models are fastest in here, in torch's words: bf16 where it is not emulated, else fp32."""
    from nlp.precision import compute_dtype  # noqa: PLC0415  (slow to import)

    return str(compute_dtype(find_devices("auto")[0], "auto")).removeprefix("torch.")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
