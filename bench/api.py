"""How fast the API answers: polls beside a bare Flask route, and a load of polls and submissions beside a worker."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from bench.entry import Entry
from bench.stack import ROOT, Platform, platform
from server.leash import leashed
from server.ports import free_ports

_PROCESSES = 2
_ROUNDS = 20
_ROUND_SECONDS = 1.5
_CLOSED_CONNECTIONS = 32
_LEAST_SHARE = 0.5

_LOAD_SECONDS = 180.0
_POLLS, _SUBMISSIONS = 300, 30  #: a second
_CONNECTIONS = 64
_MOST_MS = {"polls": 100.0, "submissions": 250.0}
#: Jobs that are polled in turn.
_JOBS = 50


def api(console: Console, scale: float) -> Iterator[Entry]:
    """Measure both on one stack with two API processes."""
    with platform({"TEXTMILL_API_PROCESSES": str(_PROCESSES)}) as running:
        yield _polls(running, console, scale)
        yield from _load(running, console, scale)


def _polls(running: Platform, console: Console, scale: float) -> Entry:
    job, _ = running.run(kind="echo", input=["a text"])
    port = urlsplit(running.stack.client.url).port
    request = _request(running, "GET", f"/v1/jobs/{job.id}")
    seconds = max(0.5, _ROUND_SECONDS * scale)
    ours: list[float] = []
    peer: list[float] = []
    with _bare_flask() as bare:
        for _ in range(_ROUNDS):
            for at, found in ((port, ours), (bare, peer)):
                plan = {"loop": "closed", "port": at, "request": request, "seconds": seconds}
                found.append(_run({**plan, "connections": _CLOSED_CONNECTIONS}))
    # Of neighbouring rounds: what else this host does changes from second to second.
    share = median(mine / theirs for mine, theirs in zip(ours, peer, strict=True))
    console.print(f"api: {median(ours):.0f} polls/s, bare Flask {median(peer):.0f}/s, {share:.2f}")
    return Entry(
        id="api_polls",
        metric=f"GET /v1/jobs/{{id}} a second, {_CLOSED_CONNECTIONS} connections, {_PROCESSES} processes",
        ours=median(ours),
        peer=median(peer),
        peer_name="a bare Flask route under the same gunicorn settings",
        higher_is_better=True,
        goal=f"ratio at least {_LEAST_SHARE:g}",
        met=share >= _LEAST_SHARE,
        scale=scale,
        detail={"ours": ours, "peer": peer},
    )


def _load(running: Platform, console: Console, scale: float) -> Iterator[Entry]:
    """The worker has rows to compute for twice as long; what is submitted queues behind them."""
    seconds = max(5.0, _LOAD_SECONDS * scale)
    work = running.client.jobs.create(
        kind="echo", input=["a text"] * 1000, params={"delay_ms": 2 * int(seconds)}
    )
    polled = [running.client.jobs.create(kind="echo", input=["a"]).id for _ in range(_JOBS)]
    body = json.dumps({"kind": "echo", "input": {"items": [{"text": "a text"}]}})
    sorts = [
        {
            "rate": _POLLS,
            "requests": [_request(running, "GET", f"/v1/jobs/{job_id}") for job_id in polled],
            "expected": [200],
        },
        {
            "rate": _SUBMISSIONS,
            "requests": [_request(running, "POST", "/v1/jobs", body)],
            "expected": [201],
        },
    ]
    plan = {"loop": "open", "port": urlsplit(running.stack.client.url).port, "sorts": sorts}
    found = _run({**plan, "seconds": seconds, "connections": _CONNECTIONS})
    for name, seen in zip(("polls", "submissions"), found, strict=True):
        yield _entry(name, seen, console, scale, seconds)
    running.client.jobs.cancel(work.id)


def _entry(
    name: str, seen: Mapping[str, Any], console: Console, scale: float, seconds: float
) -> Entry:
    cuts = quantiles([1000 * one for one in seen["latencies"]], n=1000)
    p50, p99, p999 = cuts[499], cuts[989], cuts[998]
    most = _MOST_MS[name]
    count = len(seen["latencies"]) + seen["failed"]
    console.print(
        f"api load, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {seen['failed']} of {count} failed, "
        f"{seen['late']} sent late"
    )
    rate = {"polls": _POLLS, "submissions": _SUBMISSIONS}
    return Entry(
        id=f"api_load_{name}",
        metric=f"ms until {name} are answered, p99, of {rate['polls']} polls and {rate['submissions']} "
        f"submissions a second for {seconds:g} s beside a worker",
        ours=p99,
        peer=most,
        peer_name="what the goal allows",
        higher_is_better=False,
        goal=f"under {most:g} ms, no error",
        met=p99 < most and not seen["failed"],
        scale=scale,
        detail={
            "count": count,
            "p50": p50,
            "p99": p99,
            "p999": p999,
            "failed": seen["failed"],
            "errors": seen["errors"],
            "late": seen["late"],
        },
    )


def _request(running: Platform, method: str, path: str, body: str | None = None) -> str:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines.append(f"Authorization: Bearer {running.stack.client.api_key}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body or ""])


def _run(plan: Mapping[str, Any]) -> Any:
    """A load in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(plan).encode(),
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout)


@contextmanager
def _bare_flask() -> Iterator[int]:
    """A bare Flask route under gunicorn; its port."""
    (port,) = free_ports(1)
    command: Sequence[str] = [sys.executable, "-m", "bench.bare_flask", str(port), str(_PROCESSES)]
    with subprocess.Popen(leashed(command), cwd=ROOT) as process:
        try:
            give_up = time.monotonic() + 60
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError("bare Flask did not start")
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/jobs/a", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False
