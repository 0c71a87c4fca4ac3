"""The index of a run: what went in is found again, in order, whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.corpora import Seen
from jobs.errors import Unavailable
from jobs.rows import Marks
from jobs.schedule_names import index_key
from storage.corpus import (
    CorpusIndexes,
    DamagedIndex,
    IndexBuilder,
    IndexRecord,
    Lookup,
    Measured,
    ScratchFull,
    building,
)
from storage.objects import ObjectStore

Rows = list[tuple[Marks, bytes | None]]


def mark(digest: int, name: int) -> Marks:
    return Marks(digest.to_bytes(16), name.to_bytes(16))


@pytest.fixture
def indexes(store: ObjectStore) -> CorpusIndexes:
    return CorpusIndexes(store, "default", "schedule_x", "then/../x")


def build(
    indexes: CorpusIndexes, rows: Rows, run: str = "1000", generation: int = 1
) -> IndexRecord:
    with IndexBuilder() as builder:
        for marks, output in rows:
            builder.add(marks, output)
        return builder.write(
            indexes,
            key=index_key(run, generation),
            job=f"job {run}",
            run=run,
            fingerprint="f",
            rows=len(rows),
            measured=Measured(rows=len(rows)),
            check=lambda: None,
        )


numbers = st.integers(0, 30)
made = st.lists(
    st.tuples(
        st.builds(mark, numbers, numbers),
        st.none() | st.binary(max_size=9).map(bytes.hex).map(str.encode),
    ),
    max_size=40,
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of a few rows."""
    monkeypatch.setattr(building, "_OUTPUT_BYTES", 40)
    monkeypatch.setattr(building, "_DIGESTS", 5)


@pytest.mark.usefixtures("small")
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(made, st.lists(st.builds(mark, numbers, numbers), max_size=20))
def test_what_is_known_is_what_was_there(
    indexes: CorpusIndexes, rows: Rows, asked: list[Marks]
) -> None:
    record = build(indexes, rows)
    assert indexes.find(record.key) == record
    outputs: dict[bytes, bytes] = {}
    for marks, output in rows:
        if output is not None:
            outputs.setdefault(marks.digest, output)
    failed = {marks.digest for marks, _ in rows} - set(outputs)
    names = {marks.name for marks, _ in rows}
    assert (record.digests, record.failed, record.names) == (len(outputs), len(failed), len(names))

    def expected(one: Marks) -> tuple[Seen, bytes | None]:
        if one.digest in outputs:
            return Seen.SAME, outputs[one.digest]
        if one.digest in failed:
            return Seen.FAILED, None
        return (Seen.CHANGED if one.name in names else Seen.NEW), None

    for with_outputs in (True, False):
        with Lookup() as lookup:
            lookup.load(indexes, record, outputs=with_outputs)
            found = lookup.find(asked)
            assert [seen for seen, _ in found] == [expected(one)[0] for one in asked]
            if with_outputs:
                assert found == [expected(one) for one in asked]
            assert lookup.gone == len(names - {one.name for one in asked})
    assert [one for part in indexes.sorted(record, "digests") for one in part] == sorted(outputs)


def some(count: int) -> Rows:
    return [(mark(n, n), b"%d" % n) for n in range(count)]


@pytest.mark.usefixtures("small")
def test_two_that_build_it_write_the_same_bytes(indexes: CorpusIndexes, store: ObjectStore) -> None:
    build(indexes, some(30))
    before = contents(store)
    build(indexes, some(30))
    assert contents(store) == before
    assert len(before) > 10


def contents(store: ObjectStore) -> Mapping[str, bytes]:
    return {one.name: store.get(one.name) for one in store.list("tenants/default/schedules/")}


def damaged(store: ObjectStore, name: str, how: str) -> None:
    data = store.get(name)
    if how == "gone":
        store.delete(name)
    else:
        store.put(name, data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("how", ["gone", "flipped"])
def test_no_damage_is_taken_for_an_index(
    indexes: CorpusIndexes, store: ObjectStore, how: str
) -> None:
    rows = [*some(12), (mark(50, 50), None)]
    record = build(indexes, rows)
    whole = contents(store)
    for name in whole:
        if name.endswith("index.json"):
            continue
        damaged(store, name, how)
        with Lookup() as lookup, pytest.raises(DamagedIndex):
            lookup.load(indexes, record, outputs=True)
        if how == "gone":
            assert list(indexes.newest()) == []
        store.put(name, whole[name])
    assert list(indexes.newest()) == [record]


def test_the_newest_come_first_and_old_ones_go(indexes: CorpusIndexes, store: ObjectStore) -> None:
    built = [build(indexes, some(3), run) for run in ("1000", "999", "2000m", "3000")]
    retried = build(indexes, some(3), "2000m", generation=2)
    one, two, three, four = built
    assert list(indexes.newest()) == [four, retried, three, one, two]
    assert list(indexes.newest(but="2000m")) == [four, one, two]
    indexes.pin("job a", one.key)
    assert indexes.pins() == {"job a": one.key}
    indexes.prune(frozenset(indexes.pins().values()))
    assert list(indexes.newest()) == [four, retried, one]
    indexes.unpin("job a")
    # What somebody left half written counts for nothing, and goes once it is old.
    store.delete(
        next(name for name in contents(store) if retried.key in name and "index.json" in name)
    )
    indexes.prune(frozenset())
    assert list(indexes.newest()) == [four, one]
    newest = build(indexes, some(3), "4000")
    indexes.prune(frozenset())
    assert list(indexes.newest()) == [newest, four]
    assert {name.split("/")[-3 if "/digests/" in name else -2] for name in contents(store)} >= {
        newest.key
    }
    assert not any(retried.key in name or one.key in name for name in contents(store))


def test_a_full_local_disk_is_told_by_name(
    indexes: CorpusIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tiny() -> sqlite3.Connection:
        connection = sqlite3.connect("", isolation_level=None)
        connection.execute("PRAGMA max_page_count=4")
        return connection

    record = build(indexes, some(2_000))
    monkeypatch.setattr("storage.corpus.lookup.open_scratch", tiny)
    with Lookup() as lookup, pytest.raises(ScratchFull, match=r"full.*TMPDIR") as refused:
        lookup.load(indexes, record, outputs=True)
    assert isinstance(refused.value, Unavailable)
    monkeypatch.setattr("storage.corpus.building.open_scratch", tiny)
    with pytest.raises(ScratchFull, match="full"):
        build(indexes, some(2_000))


def test_what_was_put_aside_has_no_name_on_disk(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nothing stays when the process is killed."""
    folder = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("SQLITE_TMPDIR", str(folder))
    with IndexBuilder() as builder:
        for n in range(200):
            builder.add(mark(n, n), b"x" * (1 << 20))
        assert list(folder.iterdir()) == []


def stopping() -> Iterator[None]:
    yield
    raise KeyboardInterrupt


def test_who_must_stop_leaves_no_index(indexes: CorpusIndexes) -> None:
    left = stopping()
    with IndexBuilder() as builder:
        builder.add(mark(1, 1), b"{}")
        with pytest.raises(KeyboardInterrupt):
            builder.write(
                indexes,
                key="k",
                job="j",
                run="1",
                fingerprint="f",
                rows=1,
                measured=Measured(),
                check=lambda: next(left),
            )
    assert list(indexes.newest()) == []
