"""What kind of machine this is, as far as the speed of engines depends on it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import orjson
import psutil
import torch

from jobs.devices import Device

#: Packages that compute.
_PACKAGES = ("torch", "transformers", "ctranslate2", "openvino")
#: Processor features that engines choose their kernels by, as Linux names them.
_FEATURES = frozenset(
    {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd"}
)
#: Engines that are not part of every installation, each by the name of its package.
_EXTRAS = frozenset({"openvino"})
#: Engines that are used on processors alone.
_CPU_ONLY = frozenset({"openvino"})


def machine_facts(device: Device) -> dict[str, str]:
    """Processor, threads, GPU and versions."""
    facts = {
        "device": device.type if device.type == "cpu" else device.name,
        "cores": str(psutil.cpu_count(logical=False) or psutil.cpu_count()),
        "threads": str(torch.get_num_threads()),
        **_processor(),
    }
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "none"
    return facts


def usable_engines(engines: Sequence[str], device: Device) -> list[str]:
    """Those that are installed and compute on such a device. An extra that is not there is no fault of it."""
    return [
        engine
        for engine in engines
        if (engine not in _EXTRAS or find_spec(engine) is not None)
        and (engine not in _CPU_ONLY or device.type == "cpu")
    ]


def machine_key(facts: dict[str, str]) -> str:
    """The facts as a short name: equal machines have equal names."""
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _processor() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}  # not Linux: cores and versions must do
    pairs = (line.partition(":") for line in text.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    features = (fields.get("flags") or fields.get("Features") or "").split()
    return {
        "processor": fields.get("model name", ""),
        "features": " ".join(sorted(_FEATURES.intersection(features))),
    }
