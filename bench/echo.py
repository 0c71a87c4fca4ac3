"""Rows a second through the whole platform, beside a loop that does only what must be done with each row."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import orjson
import zstandard
from rich.console import Console

from bench.entry import Entry
from bench.rows import write_texts
from bench.stack import Platform

_ROWS = 400_000
_ROUNDS = 3
_LEAST_RATIO = 0.3


def echo(platform: Platform, console: Console, scale: float) -> Iterator[Entry]:
    """Measure the overhead of the row path, with a kind that computes nothing."""
    count = max(1000, round(_ROWS * scale))
    source = platform.folder / "echo.jsonl"
    write_texts(source, count)
    uploaded = platform.upload(source)
    # The first job is planned in small shards, as no speed is known yet.
    platform.run(kind="bench_echo", input=uploaded)
    ours, peer = [], []
    for number in range(_ROUNDS):
        ours.append(count / platform.run(kind="bench_echo", input=uploaded)[1])
        peer.append(count / plain_loop(source, platform.folder / "echo.out.zst"))
        console.print(f"echo {number + 1}: {ours[-1]:,.0f} rows/s, plain loop {peer[-1]:,.0f}")
    ratio = median(ours) / median(peer)
    yield Entry(
        id="overhead-echo",
        metric=f"rows/s, {count:,} rows of about 100 characters, submit to end",
        ours=median(ours),
        peer=median(peer),
        peer_name="one process: read, parse, build, write, zstd",
        higher_is_better=True,
        goal=f"ratio at least {_LEAST_RATIO}",
        met=ratio >= _LEAST_RATIO,
        scale=scale,
        detail={"ours": ours, "peer": peer},
    )


def plain_loop(source: Path, target: Path) -> float:
    """Make the same result rows in one plain loop; seconds that it took."""
    begun = time.perf_counter()
    compressor = zstandard.ZstdCompressor(level=3)
    with source.open("rb") as lines, target.open("wb") as raw, compressor.stream_writer(raw) as out:
        for index, line in enumerate(lines):
            row = orjson.loads(line)
            text = row["text"]
            result = {
                "custom_id": row["custom_id"],
                "index": index,
                "output": {"text": text},
                "usage": {"input_tokens": len(text.split()), "output_tokens": 0},
            }
            out.write(orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE))
    return time.perf_counter() - begun
