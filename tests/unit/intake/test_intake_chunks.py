"""However the bytes are cut into chunks, the rows are the same; and memory stays bounded."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import JobFailure
from jobs.intake import ReadOptions, read_rows
from jobs.intake.pieces import PIECE, rechunk
from jobs.rows import BadRow, Row
from jobs.spec import StreamedFormat

MIB = 1 << 20
FORMATS: list[StreamedFormat] = ["jsonl", "csv", "tsv", "text", "documents"]
#: What breaks parsers when a chunk ends inside or beside it.
FRAGMENTS = [
    b"\n", b"\r\n", b"\r", b'"', b'""', b",", b"\t", b'",', b',"', b"a", b"bb bb", b" ", b"\0", b"\xff",
    "é€😀".encode(), b"\xef\xbb\xbf", b'{"text": "x"}', b'{"text": "x", "custom_id": 5}\n', b"x" * 30, b"[", b'"\n',
    b'a,"b\nc",d\n', b"a,b\nc,d\n", b"x\ty\n",
]  # fmt: skip


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


def rows_of(pieces: Iterable[bytes], form: StreamedFormat) -> list[Row | BadRow] | str:
    """The rows, or what the job fails of."""
    options = ReadOptions(max_row_bytes=24, keep=frozenset({"custom_id"}))
    try:
        return list(read_rows(pieces, format=form, source="in", first_index=5, options=options))
    except JobFailure as failure:
        return failure.detail


HEADERS: dict[str, bytes] = {"csv": b"text,custom_id\n", "tsv": b"text\tcustom_id\r\n"}
BODIES = [
    b"one\r\n\r\ntwo\r\r\nthree\r",
    b'"one ""1""",1\r\n"t\r\nw\no"\r\n\r\n"three\r"\r\n""\n""""',
    b'"a\nb"\rc,d\n"e\n"\r\nf',
    b'a,"b\nc,d\ne,f\n"g",h\n"i',
    b'a,"b\nccc\nddd\n"e"f,g\nh,i\n',
    b'"' + b'x""\n' * 20 + b'",7\r\nlast,8',
    b'"' + b"a,b\n" * 20,
    b'"' + b'a","\n' * 20,
    b"x" * 24 + b"\r\n" + b"y" * 25 + b"\r\n" + b"z" * 25,
    b"x" * 20 + b",1,\n" + b"y" * 20 + b',"1",\n' + b"z" * 20 + b',"12"\r',
    b'{"text": "\xc3\xa9"}\n\n{"text": "\xc3"}\r\n \r\n{"custom_id": 5}\n' + b'{"text": "' + b"x" * 50 + b'"}\n[',
    b"a\tb\tc\n\xff\td\n\0\te\n\tf\n",
]  # fmt: skip


def check(data: bytes, pieces: list[bytes], form: StreamedFormat) -> None:
    # The pieces as they are: in small inputs, rechunk would join them all.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.intake.read.rechunk", iter)
        expected = rows_of([data], form)
        assert rows_of(pieces, form) == expected
    if isinstance(expected, str):
        return
    assert [row.index for row in expected] == list(range(5, 5 + len(expected)))
    bad = [row.line for row in expected if isinstance(row, BadRow)]
    assert bad == sorted(set(bad))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "BOM"])
def test_a_chunk_may_end_anywhere(form: StreamedFormat, mark: bytes) -> None:
    for body in BODIES:
        data = mark + HEADERS.get(form, b"") + body
        check(data, [data[at : at + 1] for at in range(len(data))], form)
        for at in range(len(data)):
            check(data, [data[:at], data[at:]], form)


@given(
    st.sampled_from(FORMATS),
    st.lists(st.sampled_from(FRAGMENTS), max_size=24).map(b"".join) | st.binary(max_size=80),
    st.lists(st.integers(0, 1000), max_size=12) | st.just(range(1000)),
)
def test_chunks_do_not_matter(form: StreamedFormat, body: bytes, places: Iterable[int]) -> None:
    data = HEADERS.get(form, b"") + body
    check(data, cut(data, places), form)


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 10))
def test_rechunk_keeps_the_bytes_and_bounds_the_pieces(sizes: list[int], size: int) -> None:
    data = bytes(range(256)) * 5
    chunks, at = [], 0
    for length in sizes:
        chunks.append(data[at : at + length])
        at += length
    pieces = list(rechunk(chunks, size))
    assert b"".join(pieces) == b"".join(chunks)
    assert all(0 < len(piece) < 2 * size for piece in pieces)


def test_tiny_chunks_are_joined() -> None:
    assert len(list(rechunk(repeat(b"ab", PIECE)))) == 2


def long_line(form: StreamedFormat) -> Iterator[bytes]:
    """200 MB without a line end, then a good row."""
    begin = {"jsonl": b'{"text": "', "csv": b'text\n"', "tsv": b"text\n"}.get(form, b"")
    end = {"jsonl": b'"}\n{"text": "last"}', "csv": b'"\nlast'}.get(form, b"\nlast")
    return chain([begin], repeat(b"x" * MIB, 200), [end])


@pytest.mark.parametrize("form", FORMATS)
def test_a_row_of_200_mb_is_not_held(form: StreamedFormat) -> None:
    options = ReadOptions()
    tracemalloc.start()
    try:
        rows = list(
            read_rows(long_line(form), format=form, source="in", first_index=0, options=options)
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    first, *rest = rows
    assert isinstance(first, BadRow)
    assert first.failure.code == "row_too_large"
    assert "the row has 2097" in first.failure.message
    assert rest == ([] if form == "documents" else [Row(1, "last")])
    assert peak < 8 * MIB


def test_rows_are_made_as_their_bytes_arrive() -> None:
    """An endless input gives rows, and none of them is kept."""
    chunks = repeat(b'{"text": "a"}\n{"text": "b"}\n')
    rows = read_rows(chunks, format="jsonl", source="in", first_index=0, options=ReadOptions())
    for index in range(10_000):
        assert next(rows).index == index
