"""From a submission to its first computed rows, beside what Celery alone takes from send to run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console

from bench.celery_peer import TASK, celery_worker
from bench.entry import Entry
from bench.stack import ROOT, Platform
from bench.stamps import first_stamp
from server.demo.run import CLASSIFIER

_SUBMITS = 50
_MOST_MS = 100.0
#: Between two submits, so that each meets an idle stack.
_PAUSE_SECONDS = 0.1
_WARM_UP = 3
_ROWS = ["The parcel arrived broken.", "Where is my invoice?", "Thank you, all works again."]
_LABELS = ["billing", "technical problem", "praise"]


def latency(platform: Platform, console: Console, scale: float) -> Iterator[Entry]:
    """Measure how soon a small job computes on an idle stack that holds its model already."""
    count = max(5, round(_SUBMITS * scale))
    ours: list[float] = []
    peer: list[float] = []
    with celery_worker(platform.broker_url(), ROOT) as app:

        def submit(stamps: Path) -> float:
            begun = time.monotonic_ns()
            platform.run(
                kind="bench_classify",
                model=CLASSIFIER,
                input=[{"text": text} for text in _ROWS],
                params={"candidate_labels": _LABELS, "stamps": str(stamps)},
            )
            return (first_stamp(stamps) - begun) / 1e6

        def send(stamps: Path) -> float:
            begun = time.monotonic_ns()
            app.send_task(TASK, args=[str(stamps)])
            return (first_stamp(stamps) - begun) / 1e6

        for number in range(_WARM_UP + count):
            time.sleep(_PAUSE_SECONDS)
            ours.append(submit(platform.folder / f"ours-{number}.stamps"))
            time.sleep(_PAUSE_SECONDS)
            peer.append(send(platform.folder / f"celery-{number}.stamps"))
    ours, peer = ours[_WARM_UP:], peer[_WARM_UP:]
    console.print(f"latency: {median(ours):.1f} ms, Celery {median(peer):.1f} ms")
    yield Entry(
        id="overhead-latency",
        metric=f"ms from submit to first rows computed, model warm, p50 of {count}",
        ours=median(ours),
        peer=median(peer),
        peer_name="Celery alone, send to run of a no-op",
        higher_is_better=False,
        goal=f"under {_MOST_MS:g} ms",
        met=median(ours) < _MOST_MS,
        scale=scale,
        detail={"ours_p95": _p95(ours), "peer_p95": _p95(peer), "ours": ours, "peer": peer},
    )


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]
