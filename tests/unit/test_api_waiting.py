"""What many callers at once have in common: one read, one hint, and whose address counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from api.changes import ChangeHub
from api.proxies import BehindProxies
from jobs.errors import Unavailable
from storage.grouped import GroupedReads
from storage.ledger import EventTable
from tests.integration.stack.running import wait_for

CALLERS = 50


def test_calls_that_come_while_a_read_runs_share_the_next() -> None:
    running, going_on = threading.Event(), threading.Event()
    read: list[list[int]] = []

    def slow(keys: Sequence[int]) -> dict[int, int]:
        read.append(sorted(keys))
        running.set()
        going_on.wait(10)
        return {key: 10 * key for key in keys if key != 3}

    reads = GroupedReads(slow)
    with ThreadPoolExecutor(CALLERS + 1) as pool:
        first = pool.submit(reads.get, 0)
        assert running.wait(10)
        rest = [pool.submit(reads.get, number % 5) for number in range(CALLERS)]
        wait_for(lambda: len(reads._forming.keys) == 5, 10)
        going_on.set()
        assert first.result() == 0
        assert [one.result() for one in rest] == [
            None if number % 5 == 3 else 10 * (number % 5) for number in range(CALLERS)
        ]
    # Those who came later were given nothing that was read before they asked.
    assert read[0] == [0]
    assert sum(map(len, read[1:])) <= 10
    assert len(read) <= 4


def test_one_that_gathers_waits_for_those_who_are_about_to_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: GroupedReads[int, int] = GroupedReads(lambda keys: {len(keys): 1}, gather=True)
    came = []

    def others_come(_seconds: float) -> None:
        came.append(threading.Thread(target=reads.get, args=(7,)))
        came[0].start()
        wait_for(lambda: len(reads._forming.keys) == 2, 10)

    monkeypatch.setattr("storage.grouped.time.sleep", others_come)
    assert reads.get(2) == 1
    came[0].join()


def test_a_failed_read_fails_those_who_share_it_and_nobody_after() -> None:
    answers: list[Any] = [Unavailable("away"), {1: "there"}]

    def read(_keys: Sequence[int]) -> dict[int, str]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast("dict[int, str]", answer)

    reads = GroupedReads(read)
    with pytest.raises(Unavailable):
        reads.get(1)
    assert reads.get(1) == "there"


def test_one_who_is_stopped_while_reading_for_all_leaves_nobody_with_nothing() -> None:
    def stopped(_keys: Sequence[int]) -> dict[int, str]:
        raise SystemExit

    reads = GroupedReads(stopped)
    shared = reads._forming  # what others would wait for who asked in time
    with pytest.raises(SystemExit):
        reads.get(1)
    assert isinstance(shared.failure, Unavailable)


class Hints:
    """Hints as a test gives them."""

    def __init__(self) -> None:
        self.given: list[str | None] = []
        self.more = threading.Condition()

    def give(self, job_id: str) -> None:
        with self.more:
            self.given.append(job_id)
            self.more.notify_all()

    def changes(self) -> Iterator[str | None]:
        yield None
        while True:
            with self.more:
                self.more.wait_for(lambda: self.given, 0.1)
                found = self.given.pop(0) if self.given else None
            yield found


def hub(hints: Hints, most: int = CALLERS) -> ChangeHub:
    return ChangeHub(cast(EventTable, hints), most)


def seconds_until(wait: Any) -> float:
    begun = time.monotonic()
    wait()
    return time.monotonic() - begun


def test_a_hint_wakes_who_waits_for_that_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.changes.RECHECK_SECONDS", (30.0, 30.0))
    hints = Hints()
    changes = hub(hints)
    with changes.watch("t", "a") as mine, changes.watch("t", "b") as other:
        assert mine is not None
        assert other is not None
        mine.wait(5)  # the subscription stands: whatever was before must be looked at
        other.wait(5)
        hints.give("a")
        assert seconds_until(lambda: mine.wait(20)) < 10
        assert seconds_until(lambda: other.wait(0.2)) >= 0.2
        # A hint that comes between two waits is not lost.
        hints.give("a")
        wait_for(lambda: not hints.given, 5)
        time.sleep(0.05)
        assert seconds_until(lambda: mine.wait(20)) < 10
    changes.close()


def test_without_hints_one_looks_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.changes.RECHECK_SECONDS", (0.1, 0.2))
    changes = hub(Hints())
    with changes.watch("t", "a") as watch:
        assert watch is not None
        assert seconds_until(lambda: watch.wait(20)) < 10
    changes.close()


def test_the_end_wakes_all_and_takes_nobody_more() -> None:
    changes = hub(Hints())
    with changes.watch("t", "a") as watch:
        assert watch is not None
        watch.wait(5)
        threading.Timer(0.1, changes.close).start()
        assert seconds_until(lambda: watch.wait(20)) < 10
        assert seconds_until(lambda: watch.wait(20)) < 1
    with changes.watch("t", "a") as none:
        assert none is None


def test_a_tenant_has_so_many_watches_and_others_have_theirs() -> None:
    moved: list[int] = []
    changes = hub(Hints(), most=2)
    changes.moved = moved.append
    with changes.watch("t", "a"), changes.watch("t", "b"):
        with changes.watch("t", "c") as third, changes.watch("u", "a") as other:
            assert third is None
            assert other is not None
        assert sum(moved) == 2
    with changes.watch("t", "c") as again:
        assert again is not None
    assert sum(moved) == 0
    changes.close()


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        ("198.51.100.7", "203.0.113.1", "198.51.100.7"),  # nobody we trust says so
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "127.0.0.1, 203.0.113.1", "203.0.113.1"),  # the caller wrote the first
        ("10.0.0.1", "203.0.113.1, 10.2.3.4", "203.0.113.1"),  # through two proxies
        ("10.0.0.1", "nonsense, 203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("::1", "203.0.113.1", "203.0.113.1"),
    ],
)
def test_whose_address_counts(peer: str, forwarded: str | None, caller: str) -> None:
    seen: list[str] = []

    def application(environ: dict[str, Any], _start: Any) -> list[bytes]:
        seen.append(environ["REMOTE_ADDR"])
        return []

    environ = {"REMOTE_ADDR": peer} | ({"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {})
    BehindProxies(application, ["10.0.0.0/8", "::1"])(environ, None)
    assert seen == [caller]
