"""Which number format a device computes in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from jobs.devices import Device
from jobs.kinds import Precision

#: CPU features that multiply bf16 matrices in hardware, as Linux names them. Without one, bf16 is emulated
#: and slower than fp32.
_FAST_BF16 = frozenset({"avx512_bf16", "amx_bf16"})

_NAMED = {
    "exact": torch.float32,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def compute_dtype(device: Device, precision: Precision) -> torch.dtype:
    """torch's format: fp32 for ``exact``, the one that is named, or bf16 where the device is fast at it, else fp32."""
    if precision in _NAMED:
        return _NAMED[precision]
    fast = _cuda_has_bf16() if device.type == "cuda" else _cpu_has_bf16()
    return torch.bfloat16 if fast else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """``fp32``, ``bf16`` or ``fp16``."""
    return _NAMES[dtype]


def _cuda_has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


@cache
def _cpu_has_bf16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False  # not Linux: the safe choice
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not _FAST_BF16.isdisjoint(flags.split())
