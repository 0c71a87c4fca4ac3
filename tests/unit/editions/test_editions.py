"""Whoever reads a day's folder finds one whole edition or a sign that it is none, whatever dies or wakes up late."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import pytest

from jobs.editions import NotOurs, Turn
from jobs.errors import Unavailable
from jobs.ids import new_id
from jobs.outtake import Cut, ResultTable
from jobs.spec import OutputSpec
from storage import objects
from storage.editions import DayFolder, Superseded
from storage.objects import ObjectStore
from tests.unit.editions.buckets import Bucket, Disk
from tests.unit.outtake.lines import failed, result
from workers.role import Role
from workers.targets import _Day

DAY = "2026-11-28"
URI = "s3://corpora/labelled/"
FOLDER = f"labelled/date={DAY}/"
LATEST = "labelled/_latest.json"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PART_BYTES", 1 << 12)


class Killed(BaseException):
    """Ends a finalizer as kill -9 would."""


class HeldRole:
    """A role that nobody takes away: also of those that were thought dead."""

    def check(self) -> None:
        pass


class Results(Bucket):
    """The platform's own store: a job's results, three rows."""

    def __init__(self, target: Bucket, turn: Turn) -> None:
        super().__init__(Disk())
        self._target = target
        self._turn = turn

    def in_bucket(self, bucket: str) -> ObjectStore:
        return self._target

    def stream(self, name: str, **_: Any) -> Iterator[bytes]:
        if name == "errors":
            yield failed(3, "bad")
            return
        for row in range(3):
            yield result(row, {"text": f"{self._turn.suffix} {row}"})


def turn(at: int, job: str | None = None, generation: int = 1, date: str = DAY) -> Turn:
    return Turn(date=date, at=at, job=job or new_id("job"), generation=generation)


def write(disk: Disk, wanted: Turn, step: Callable[[], None] = lambda: None) -> None:
    """Finalize a job whose results are three rows in two parts."""
    target = Bucket(disk, step)
    day = _Day(
        Results(target, wanted),
        OutputSpec(uri=URI, layout="date"),
        wanted,
        origin=None,
        results=ResultTable({}, carried=False),
        cut=Cut(rows=2, bytes=1 << 20),
        role=cast("Role", HeldRole()),
    )
    day.write({"results": "results", "errors": "errors"})


def look(disk: Disk) -> None:
    """What must hold at each moment for whoever looks at a folder, or follows ``_latest.json``."""
    if disk.seen == disk.objects:
        return
    disk.seen = dict(disk.objects)
    success = disk.objects.get(FOLDER + "_SUCCESS")
    if success is not None:
        edition = orjson.loads(success)
        shown = {name for name in disk.objects if name.startswith(f"{FOLDER}part-")}
        assert shown == {FOLDER + part["name"] for part in edition["parts"]}
        whole(disk, edition)
    if LATEST in disk.objects:
        whole(disk, orjson.loads(disk.objects[LATEST]))


def whole(disk: Disk, edition: dict[str, Any]) -> None:
    name = Turn(**{one: edition[one] for one in ("date", "at", "job", "generation")}).suffix
    folder = edition["folder"].removeprefix("s3://corpora/")
    lines = []
    for part in edition["parts"]:
        data = disk.objects[folder + part["name"]]
        assert (len(data), data.count(b"\n")) == (part["bytes"], part["rows"])
        lines += [orjson.loads(line)["output"]["text"] for line in data.splitlines()]
    assert lines == [f"{name} {row}" for row in range(3)]
    assert edition["rows"] == 3
    assert folder + edition["errors"]["name"] in disk.objects


def shows(disk: Disk, wanted: Turn) -> None:
    """The folder holds this edition and nothing else."""
    look(disk)
    parts = {f"part-{n:05d}-{wanted.suffix}.jsonl" for n in range(2)}
    expected = {"_SUCCESS", "_writer.json", f"_errors-{wanted.suffix}.jsonl", *parts}
    assert {n.removeprefix(FOLDER) for n in disk.objects if n.startswith(FOLDER)} == expected
    assert orjson.loads(disk.objects[FOLDER + "_SUCCESS"])["job"] == wanted.job


@dataclass
class At:
    """Does something at one of the steps of a finalizer; everybody looks at all of them."""

    disk: Disk
    number: int
    act: Callable[[], None]
    steps: int = field(default=0)

    def __call__(self) -> None:
        look(self.disk)
        self.steps += 1
        if self.steps == self.number:
            self.act()
            look(self.disk)


def watched(disk: Disk, wanted: Turn) -> None:
    """Write, or learn that a newer run has the folder."""
    with suppress(Superseded):
        write(disk, wanted, lambda: look(disk))


def each_step(act: Callable[[Disk], None], first: Turn, old: Turn | None) -> Iterator[Disk]:
    """Finalize again and again, each time with something that happens one step later."""
    for number in itertools.count(1):
        disk = Disk()
        if old is not None:
            write(disk, old)
        at = At(disk, number, lambda disk=disk: act(disk))  # type: ignore[misc]
        with suppress(Killed, Superseded, Unavailable):
            write(disk, first, at)
        yield disk
        if at.steps < number:
            return


def die(_: Disk) -> None:
    raise Killed


OLD, FIRST, NEWER = turn(1), turn(2), turn(3)
AGAIN = Turn(date=DAY, at=2, job=FIRST.job, generation=2)


def test_one_after_another_replaces_what_was_there() -> None:
    disk = Disk()
    foreign = {f"{FOLDER}part-notes.parquet": b"x", f"{FOLDER}sub/part-1": b"y", "labelled/z": b"z"}
    for one in (OLD, FIRST, AGAIN, NEWER):
        watched(disk, one)
        shows(disk, one)
        assert orjson.loads(disk.objects[LATEST])["generation"] == one.generation
    with pytest.raises(Superseded) as newer:
        write(disk, FIRST)
    assert newer.value.turn == NEWER
    shows(disk, NEWER)
    disk.objects |= foreign
    write(disk, turn(4))
    assert {name: disk.objects.get(name) for name in foreign} == foreign


@pytest.mark.parametrize("old", [None, OLD], ids=["empty", "replaced"])
@pytest.mark.parametrize(
    ("then", "wins"),
    [(FIRST, FIRST), (NEWER, NEWER), (AGAIN, AGAIN)],
    ids=["same", "newer", "retry"],
)
def test_a_finalizer_dies_anywhere_and_another_goes_on(
    old: Turn | None, then: Turn, wins: Turn
) -> None:
    count = 0
    for disk in each_step(die, FIRST, old):
        count += 1
        watched(disk, then)
        shows(disk, wins)
        assert orjson.loads(disk.objects[LATEST])["job"] == wins.job
        watched(disk, then)
        shows(disk, wins)
    assert count > 25


@pytest.mark.parametrize("old", [None, OLD], ids=["empty", "replaced"])
@pytest.mark.parametrize(
    ("other", "wins"),
    [(FIRST, FIRST), (NEWER, NEWER), (AGAIN, AGAIN), (turn(1), FIRST)],
    ids=["same", "newer", "retry", "older"],
)
def test_a_finalizer_is_stalled_anywhere_while_another_does_all(
    old: Turn | None, other: Turn, wins: Turn
) -> None:
    for disk in each_step(lambda disk: watched(disk, other), FIRST, old):
        if wins == other or old is not None:
            # Whoever was stopped in the middle is asked again, as a job that has not ended is.
            watched(disk, wins)
        shows(disk, wins)
        assert orjson.loads(disk.objects[LATEST])["job"] == wins.job


@pytest.mark.parametrize("then", [FIRST, NEWER], ids=["same", "newer"])
def test_one_is_stalled_another_dies_and_a_third_comes(then: Turn) -> None:
    for at in range(1, 40, 3):

        def dies(disk: Disk, at: int = at) -> None:
            with suppress(Killed, Superseded):
                write(disk, NEWER, At(disk, at, lambda: die(disk)))

        for disk in each_step(dies, FIRST, OLD):
            watched(disk, then)
            watched(disk, NEWER)
            shows(disk, NEWER)


def test_an_older_day_never_becomes_the_latest_but_has_its_folder() -> None:
    disk = Disk()
    newest = turn(9, date="2026-11-29")
    write(disk, newest)
    watched(disk, FIRST)
    shows(disk, FIRST)
    assert orjson.loads(disk.objects[LATEST])["job"] == newest.job


def test_what_a_job_wrote_is_removed_and_nothing_else() -> None:
    disk = Disk()
    write(disk, FIRST)
    folder = DayFolder(Bucket(disk), URI, DAY)
    assert not folder.remove(FIRST.job), "the latest stays"
    shows(disk, FIRST)
    write(disk, turn(9, date="2026-11-29"))
    foreign = {f"{FOLDER}part-mine.parquet": b"x", f"{FOLDER}_errors": b"y"}
    disk.objects |= foreign
    assert folder.remove(NEWER.job), "it wrote nothing"
    assert f"{FOLDER}_SUCCESS" in disk.objects
    assert folder.remove(FIRST.job)
    left = {name: data for name, data in disk.objects.items() if name.startswith(FOLDER)}
    assert left == foreign
    assert folder.remove(FIRST.job), "twice is as once"


def test_removal_dies_anywhere_and_is_done_again() -> None:
    for number in itertools.count(1):
        disk = Disk()
        write(disk, FIRST)
        write(disk, turn(9, date="2026-11-29"))
        at = At(disk, number, lambda: die(Disk()))
        with suppress(Killed):
            DayFolder(Bucket(disk, at), URI, DAY).remove(FIRST.job)
        DayFolder(Bucket(disk, lambda disk=disk: look(disk)), URI, DAY).remove(FIRST.job)  # type: ignore[misc]
        assert not [name for name in disk.objects if name.startswith(FOLDER)]
        if at.steps < number:
            return


@pytest.mark.parametrize("name", [LATEST, f"{FOLDER}_SUCCESS", f"{FOLDER}_writer.json"])
@pytest.mark.parametrize("data", [b"", b"[]", b'{"date": 1, "at": 2, "job": "x", "generation": 1}'])
def test_what_somebody_else_keeps_under_its_names_is_left_alone(name: str, data: bytes) -> None:
    disk = Disk()
    disk.objects[name] = data
    with pytest.raises(NotOurs, match=name.rpartition("/")[2]):
        write(disk, FIRST)
    assert disk.objects == {name: data}
