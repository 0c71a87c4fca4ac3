"""Nights of an incremental schedule over a corpus of which a little changes, beside full runs over the same corpus."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import orjson
import urllib3
from rich.console import Console

from bench.corpus import Corpus
from bench.entry import Entry
from bench.rows import sentence
from bench.stack import Platform, platform
from server.demo.corpus import docstrings
from server.demo.run import CLASSIFIER, TOPICS
from textmill import Job

_NIGHTS = 5
_SHARE = 0.02
_OBJECTS, _ROWS = 10_000, 200_000
#: What a row takes ``echo``: about as long as MiniLM on two cores, 400 rows a second.
_DELAY_MS = 2.5
_MODEL_OBJECTS, _MODEL_ROWS = 50, 1_000

#: Rows of a job before the first night, which loads the model and has its engines compared.
_LOADING = 32

#: Docstrings that the rows are made of, at most.
_TEXTS = 4_000

#: Most share of a full night's time, most deviation of computed rows and of a preview, most difference between scores.
_MOST_TIME, _MOST_MORE, _MOST_OFF, _MOST_SCORE = 0.1, 0.01, 0.3, 0.03


@dataclass
class _Nights:
    """Nights of one schedule, and what was measured: the first, which computes all, and those after it."""

    running: Platform
    schedule: str
    console: Console
    full: float = 0.0
    seconds: list[float] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)
    true: list[int] = field(default_factory=list)
    foretold: list[float] = field(default_factory=list)  #: seconds of device time, by a preview
    device: list[float] = field(default_factory=list)  #: the same, as it was

    def run(self, true: int) -> Job:
        """The next night, in which so many rows have to be computed; its job, at its end."""
        client = self.running.client
        estimate = client.schedules.preview(self.schedule).wait().estimate
        begun = time.perf_counter()
        job = client.jobs.get(str(client.schedules.trigger(self.schedule).job))
        etag: str | None = None
        while not job.ended:
            changed, etag = client.jobs.poll(job.id, seconds=25, etag=etag)
            job = changed or job
        seconds = time.perf_counter() - begun
        if job.status != "completed" or job.counts.failed or job.corpus is None:
            raise RuntimeError(f"job {job.id}: {job.status}, {job.counts}, {job.error}")
        told = f"{job.corpus.told()}; true change {true:,}"
        self.console.print(f"nightly: {seconds:.1f} s, {told}")
        if not self.full:
            self.full = seconds
            return job
        self.seconds.append(seconds)
        self.computed.append(job.corpus.computed)
        self.true.append(true)
        self.foretold.append((estimate and estimate.device_seconds) or 0.0)
        self.device.append(job.usage.device_seconds)
        self.console.print(
            f"nightly: device time {self.device[-1]:.3f} s, foretold {self.foretold[-1]:.3f} s"
        )
        return job

    def detail(self) -> dict[str, Any]:
        told = {name: value for name, value in vars(self).items() if isinstance(value, list)}
        return {"full": self.full, **told}


def nightly(console: Console, scale: float) -> Iterator[Entry]:
    """Measure what an incremental night computes, how long it takes, and whether its results are those of a full run.

    Raises:
        RuntimeError: they are not.
    """
    with platform() as running, urllib3.PoolManager(maxsize=32) as pool:
        s3 = running.stack.minio(pool)
        yield from _echoed(running, s3, console, scale)
        yield from _classified(running, s3, console, scale)


def _echoed(running: Platform, s3: Any, console: Console, scale: float) -> Iterator[Entry]:
    corpus = Corpus(
        s3,
        "echoed/",
        objects=max(10, round(_OBJECTS * scale)),
        rows=max(1000, round(_ROWS * scale)),
        text=sentence,
    )
    body = {
        "kind": "bench_echo",
        "input": {"uri": corpus.uri},
        "params": {"delay_ms": _DELAY_MS},
    }
    schedule = running.client.schedules.create(job=body, cron="0 0 1 1 *", incremental=True)
    nights = _Nights(running, schedule.id, console)
    for number in range(_NIGHTS):
        true = corpus.night(_SHARE) if number else corpus.rows
        job = nights.run(true)
        # Without the delay: it changes no result.
        full, seconds = running.run(kind="bench_echo", input=corpus.uri)
        if _digest(running, job) != _digest(running, full):
            raise RuntimeError(f"night {number + 1}: the results are not those of a full run")
        console.print(f"nightly: equal to a full run without delay, which took {seconds:.1f} s")
    yield from _entries(nights, corpus, scale, "nightly", f"echo, {_DELAY_MS} ms a row")


def _classified(running: Platform, s3: Any, console: Console, scale: float) -> Iterator[Entry]:
    # Each once: one that was there before would not have to be computed, wherever it comes again.
    texts = list(dict.fromkeys(document.text for document in docstrings(_TEXTS)))
    left = iter(texts)
    corpus = Corpus(
        s3,
        "classified/",
        objects=max(5, round(_MODEL_OBJECTS * scale)),
        rows=min(max(200, round(_MODEL_ROWS * scale)), len(texts) * 9 // 10),
        text=lambda _: next(left),
    )
    params = {"candidate_labels": TOPICS, "hypothesis_template": "This is about {}."}
    body = {"kind": "classify", "model": CLASSIFIER, "input": {"uri": corpus.uri}, "params": params}
    loading = [{"text": text} for text in texts[:_LOADING]]
    running.run(kind="classify", model=CLASSIFIER, input=loading, params=params)
    schedule = running.client.schedules.create(job=body, cron="0 0 1 1 *", incremental=True)
    nights = _Nights(running, schedule.id, console)
    largest, other = 0.0, 0
    for number in range(_NIGHTS):
        true = corpus.night(_SHARE) if number else corpus.rows
        job = nights.run(true)
    full, _ = running.run(kind="classify", model=CLASSIFIER, input=corpus.uri, params=params)
    for one, two in zip(_results(running, job), _results(running, full), strict=True):
        if (one["custom_id"], one["index"]) != (two["custom_id"], two["index"]):
            raise RuntimeError("the nights' results are of other rows than a full run's")
        if one["output"]["label"] == two["output"]["label"]:
            largest = max(largest, abs(one["output"]["score"] - two["output"]["score"]))
        else:
            other += 1
    console.print(f"nightly: MiniLM, {other} other labels, scores differ by {largest:.5f} at most")
    yield Entry(
        id="nightly-minilm-scores",
        metric=f"largest difference of a score after {_NIGHTS} nights, {corpus.rows:,} rows",
        ours=max(largest, 1e-9),
        peer=_MOST_SCORE,
        peer_name="what is tolerated",
        higher_is_better=False,
        goal="labels equal on 99.9 % of rows, scores within the tolerance",
        met=largest <= _MOST_SCORE and other <= corpus.rows / 1000,
        scale=scale,
        detail={"other_labels": other, "seconds": nights.seconds, "full": nights.full},
    )
    yield from _entries(nights, corpus, scale, "nightly-minilm", "MiniLM")


def _entries(
    nights: _Nights, corpus: Corpus, scale: float, name: str, what: str
) -> Iterator[Entry]:
    computed, true = sum(nights.computed), sum(nights.true)
    yield Entry(
        id=f"{name}-computed",
        metric=f"rows computed in {_NIGHTS - 1} nights of {corpus.rows:,} rows, {what}",
        ours=computed,
        peer=true,
        peer_name="rows that were changed or added",
        higher_is_better=False,
        goal=f"within {_MOST_MORE:.0%}",
        met=all(
            abs(one - two) <= _MOST_MORE * two
            for one, two in zip(nights.computed, nights.true, strict=True)
        ),
        scale=scale,
        detail=nights.detail(),
    )
    yield Entry(
        id=f"{name}-preview",
        metric=f"seconds of device time foretold for the second night, {what}",
        ours=nights.foretold[0],
        peer=nights.device[0],
        peer_name="as it was",
        higher_is_better=False,
        goal=f"within {_MOST_OFF:.0%}",
        met=abs(nights.foretold[0] - nights.device[0]) <= _MOST_OFF * nights.device[0],
        scale=scale,
        detail=nights.detail(),
    )
    ours = median(nights.seconds)
    yield Entry(
        id=f"{name}-time",
        metric=f"seconds of a night of {corpus.rows:,} rows of which {_SHARE:.0%} changed, {what}",
        ours=ours,
        peer=nights.full,
        peer_name="the first night, which computes all",
        higher_is_better=False,
        goal=f"at most {_MOST_TIME} of it",
        met=ours <= _MOST_TIME * nights.full,
        scale=scale,
        detail=nights.detail(),
    )


def _digest(running: Platform, job: Job) -> str:
    digest = hashlib.sha256()
    for section in ("results", "errors"):
        for chunk in running.client.jobs.content(job.id, section):
            digest.update(chunk)
    return digest.hexdigest()


def _results(running: Platform, job: Job) -> Iterator[dict[str, Any]]:
    data = b"".join(running.client.jobs.content(job.id, "results"))
    for line in data.splitlines():
        yield orjson.loads(line)
