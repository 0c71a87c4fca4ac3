"""How fast one control process plans, without the store: the processor's share of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from jobs.intake.objects import ReadOptions
from jobs.intake.read import read_rows
from jobs.plan import CutRule
from jobs.rows import encode_shard_row
from storage.parts import encode_shard
from workers.cutting import cut

_RULE = CutRule(max_rows=4_000, max_bytes=64 << 20)
_ROUNDS = 5


def measure_planning(rows: int, announce: Callable[[str], None]) -> float:
    """Rows of about 100 characters that are read, cut and compressed in a second of processor time; the median."""
    announce("planning")
    text = "some words " * 8
    lines = "".join(f'{{"custom_id":"row-{number}","text":"{text}"}}\n' for number in range(rows))
    speeds = []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        _plan(lines.encode())
        speeds.append(rows / (time.process_time() - begun))
    return median(speeds)


def _plan(lines: bytes) -> None:
    options = ReadOptions()
    found = read_rows([lines], format="jsonl", source="input", first_index=0, options=options)
    for _, shard in cut((encode_shard_row(row) for row in found), _RULE):
        encode_shard([shard])
