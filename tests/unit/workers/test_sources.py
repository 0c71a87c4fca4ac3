"""From a prefix to rows: which objects it stands for, and what becomes of those that cannot be read."""

from __future__ import annotations

import gzip
import io
from itertools import islice

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from jobs.errors import JobFailure
from jobs.intake import ReadOptions
from jobs.rows import BadRow, Row
from jobs.settings import Settings
from jobs.spec import InputFormat, InputSpec
from tests.unit.workers.memorystore import MemoryStore
from workers.sources import Pinned, pin_sources, stream_rows


def parquet(*texts: str) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": list(texts)}), out)
    return out.getvalue()


CUT = gzip.compress(b"".join(b'{"text": "%d"}\n' % n for n in range(40_000)), 9, mtime=0)[:-2000]

CORPUS = {
    "in/z.jsonl": b'{"text": "z1"}\nnot JSON\n{"text": "z3"}\n',
    "in/a-b.csv": b"text,id\na,1\n",
    "in/a/page.html": b"<title>T</title><p>page",
    "in/a/table.parquet": parquet("p1", "p2"),
    "in/B.txt.gz": gzip.compress(b"line 1\nline 2\n"),
    "in/notes.md": b"# Notes",
    "in/empty.csv": b"",
    "in/a/": b"",
    "in/_SUCCESS": b"",
    "in/_errors.jsonl": b'{"text": "no"}',
    "in/_latest.json": b"{}",
    "in/.hidden/x.txt": b"no",
    "in/photo.png": b"\x89PNG",
    "in/readme": b"no ending",
}

BROKEN = {
    "in/b1.csv": (b"id,body\n1,x\n", "missing_text_field"),
    "in/b2.csv": (b"text,text\nx,y\n", "input_header"),
    "in/b3.txt": ("text".encode("utf-16"), "input_encoding"),
    "in/b4.txt.gz": (b"no gzip", "input_corrupt"),
    "in/b5.parquet": (parquet("x")[:-9], "input_corrupt"),
    "in/b6.jsonl.zst": (b"no zstd", "input_corrupt"),
}


def pin(store: MemoryStore, uri: str, form: InputFormat | None = None, most: int = 100) -> Pinned:
    spec = InputSpec(uri=uri, format=form)
    return pin_sources(store, "default", spec, most_objects=most)


def read(store: MemoryStore, uri: str = "s3://corpora/in/") -> list[Row | BadRow]:
    sources = pin(store, uri).sources
    spec = InputSpec(uri=uri)
    return list(stream_rows(store, spec, sources, Settings(), ReadOptions()))


def told(rows: list[Row | BadRow]) -> list[str]:
    assert [row.index for row in rows] == list(range(len(rows)))
    return [row.text if isinstance(row, Row) else row.failure.code for row in rows]


def test_formats_lie_side_by_side_and_are_read_in_the_order_of_their_keys() -> None:
    rows = read(MemoryStore(CORPUS))
    assert told(rows) == [
        "line 1",
        "line 2",
        "a",
        "T\n\npage",
        "p1",
        "p2",
        "# Notes",
        "z1",
        "invalid_json",
        "z3",
    ]
    assert [row.source for row in rows[3:5]] == [
        "s3://corpora/in/a/page.html",
        "s3://corpora/in/a/table.parquet",
    ]


def test_what_has_no_format_is_left_out_and_named() -> None:
    pinned = pin(MemoryStore(CORPUS), "s3://corpora/in/")
    assert len(pinned.sources) == 7
    assert pinned.skipped is not None
    warning = pinned.skipped.warning()
    assert (warning["code"], warning["count"]) == ("skipped_objects", 2)
    assert "s3://corpora/in/photo.png, s3://corpora/in/readme;" in warning["message"]


def test_many_without_a_format_are_not_all_named() -> None:
    store = MemoryStore({f"in/{n:04}.bin": b"x" for n in range(99)} | {"in/a.txt": b"x"})
    skipped = pin(store, "s3://corpora/in/").skipped
    assert skipped is not None
    assert (skipped.count, len(skipped.names)) == (99, 5)
    assert "0004.bin, …; " in skipped.warning()["message"]


def test_a_format_that_is_said_holds_for_all_that_is_not_hidden() -> None:
    pinned = pin(MemoryStore(CORPUS), "s3://corpora/in/", "text")
    assert [source.format for source in pinned.sources] == ["text"] * 9
    assert pinned.skipped is None


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("s3://corpora/in/*.png", "input_format"),
        ("s3://corpora/in/readme", "input_format"),
        ("s3://corpora/in/*.gif", "input_missing"),
        ("s3://corpora/in/a", "input_missing"),
    ],
)
def test_no_object_that_can_be_read_is_a_failure(uri: str, code: str) -> None:
    with pytest.raises(JobFailure) as caught:
        pin(MemoryStore(CORPUS), uri)
    assert caught.value.failure_code == code


def test_a_prefix_may_not_stand_for_too_many() -> None:
    store = MemoryStore({f"in/{n}.txt": b"x" for n in range(10)})
    assert len(pin(store, "s3://corpora/in/", most=10).sources) == 10
    with pytest.raises(JobFailure, match="more than 9 objects") as caught:
        pin(store, "s3://corpora/in/", most=9)
    assert caught.value.failure_code == "too_many_objects"


def test_an_object_that_cannot_be_read_is_one_bad_row() -> None:
    good = {"in/a.txt": b"first", "in/c.txt": b"last"}
    store = MemoryStore(good | {name: data for name, (data, _) in BROKEN.items()})
    rows = read(store)
    assert told(rows) == ["first", *(code for _, code in BROKEN.values()), "last"]
    assert [row.source for row in rows[1:-1]] == [f"s3://corpora/{name}" for name in BROKEN]
    assert {row.line for row in rows} == {1}
    assert read(store) == rows


@pytest.mark.parametrize("name", BROKEN)
def test_if_none_can_be_read_the_job_fails_as_with_that_one_alone(name: str) -> None:
    data, code = BROKEN[name]
    for uri in ("s3://corpora/in/", f"s3://corpora/{name}"):
        store = MemoryStore({name: data, "in/empty.txt": b""})
        with pytest.raises(JobFailure) as caught:
            read(store, uri)
        assert caught.value.failure_code == code


def test_what_could_be_read_of_a_broken_object_counts() -> None:
    rows = read(MemoryStore({"in/a.jsonl.gz": CUT, "in/b.txt": b"next"}))
    *good, bad, after = told(rows)
    assert len(good) > 30_000
    assert good == [str(n) for n in range(len(good))]
    assert (bad, after) == ("input_corrupt", "next")
    assert (rows[-2].source, rows[-2].line) == ("s3://corpora/in/a.jsonl.gz", len(good) + 1)


@pytest.mark.parametrize(("becomes", "code"), [(None, "input_missing"), (b"new", "input_changed")])
def test_an_object_that_is_gone_or_another_fails_the_job(becomes: bytes | None, code: str) -> None:
    """Somebody who planned this job before may have read it still: other rows now would not fit to his."""
    store = MemoryStore({f"in/{n}.txt": b"line" for n in range(9)})
    uri = "s3://corpora/in/"
    sources = pin(store, uri).sources
    if becomes is None:
        del store.objects["in/5.txt"]
    else:
        store.objects["in/5.txt"] = becomes
    rows = stream_rows(store, InputSpec(uri=uri), sources, Settings(), ReadOptions())
    assert [row.index for row in islice(rows, 5)] == list(range(5))
    with pytest.raises(JobFailure) as caught:
        next(rows)
    assert caught.value.failure_code == code
