"""Shards and parts: what was written comes back, and damage never goes unseen."""

from __future__ import annotations

import orjson
import pytest

from jobs.errors import Unavailable
from jobs.names import JobNames
from jobs.ranges import RowRange
from jobs.rows import BadRow, Row, RowFailure, encode_shard_row
from storage.ledger import CommittedPart
from storage.objects import ObjectMissing, ObjectStore
from storage.parts import (
    DamagedPart,
    decode_shard,
    encode_part,
    encode_shard,
    open_part,
    stream_parts,
)

NAMES = JobNames("default", "job_a")
PART = CommittedPart(RowRange(10, 15), "0" * 32)
RESULTS = [b'{"index":10}\n', b'{"index":12}\n', b'{"index":14}\n']
ERRORS = [b'{"index":11,"error":1}\n', b'{"index":13,"error":2}\n']


def put(store: ObjectStore, data: bytes, part: CommittedPart = PART) -> None:
    store.put(NAMES.part(part.rows, part.token), data)


def sections(store: ObjectStore, part: CommittedPart = PART) -> dict[str, bytes]:
    """The part's sections, read to their end."""
    _, pieces = open_part(store, NAMES, part)
    found = {"results": b"", "errors": b""}
    for name, piece in pieces:
        found[name] += piece
    return found


@pytest.mark.parametrize(
    ("results", "errors"),
    [(RESULTS, ERRORS), ([*RESULTS, *ERRORS], []), ([], [*ERRORS, *RESULTS])],
)
def test_a_part_comes_back(store: ObjectStore, results: list[bytes], errors: list[bytes]) -> None:
    put(store, encode_part(PART.rows, results, errors))
    header, _ = open_part(store, NAMES, PART)
    assert (header.rows, header.results, header.errors) == (PART.rows, len(results), len(errors))
    assert sections(store) == {"results": b"".join(results), "errors": b"".join(errors)}


def test_a_part_of_many_pieces_comes_back(store: ObjectStore) -> None:
    rows = RowRange(0, 40_000)
    lines = [orjson.dumps({"index": i, "text": f"{i * 7919:x}" * 8}) + b"\n" for i in range(40_000)]
    part = CommittedPart(rows, "1" * 32)
    put(store, encode_part(rows, lines[::2], lines[1::2]), part)
    assert sections(store, part) == {
        "results": b"".join(lines[::2]),
        "errors": b"".join(lines[1::2]),
    }


def test_the_same_rows_give_the_same_bytes() -> None:
    assert encode_part(PART.rows, RESULTS, ERRORS) == encode_part(PART.rows, RESULTS, ERRORS)


def test_every_row_has_one_line() -> None:
    with pytest.raises(ValueError, match="3 results and 1 errors"):
        encode_part(PART.rows, RESULTS, ERRORS[:1])


def test_every_flipped_byte_is_seen(store: ObjectStore) -> None:
    whole = encode_part(PART.rows, RESULTS, ERRORS)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x21
        put(store, bytes(damaged))
        with pytest.raises(DamagedPart):
            sections(store)


def test_every_cut_is_seen(store: ObjectStore) -> None:
    whole = encode_part(PART.rows, RESULTS, ERRORS)
    for size in range(0, len(whole), 3):
        put(store, whole[:size])
        with pytest.raises(DamagedPart):
            sections(store)


def test_bytes_behind_the_end_are_seen(store: ObjectStore) -> None:
    whole = encode_part(PART.rows, RESULTS, ERRORS)
    for more in (b"x", whole):
        put(store, whole + more)
        with pytest.raises(DamagedPart):
            sections(store)


def test_a_part_under_another_name_is_seen(store: ObjectStore) -> None:
    put(store, encode_part(RowRange(0, 5), RESULTS, ERRORS))
    with pytest.raises(DamagedPart, match="holds rows"):
        open_part(store, NAMES, PART)


def test_what_is_no_part_is_seen(store: ObjectStore) -> None:
    for content in (b"", b"not json\n", b"{}\n", b"[]\n", b"no end of line"):
        put(store, encode_shard([content]))
        with pytest.raises(DamagedPart):
            open_part(store, NAMES, PART)


def test_a_missing_part(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing):
        open_part(store, NAMES, PART)


def test_parts_one_after_the_other(store: ObjectStore) -> None:
    other = CommittedPart(RowRange(15, 16), "1" * 32)
    put(store, encode_part(PART.rows, RESULTS, ERRORS))
    put(store, encode_part(other.rows, [b'{"index":15}\n'], []), other)
    joined = b"".join(stream_parts(store, NAMES, [PART, other], "results"))
    assert joined == b"".join(RESULTS) + b'{"index":15}\n'
    assert b"".join(stream_parts(store, NAMES, [PART, other], "errors")) == b"".join(ERRORS)


def test_a_damaged_part_among_others_is_told(store: ObjectStore) -> None:
    put(store, encode_part(PART.rows, RESULTS, ERRORS)[:-6])
    with pytest.raises(Unavailable):
        list(stream_parts(store, NAMES, [PART], "results"))


def test_a_shard_comes_back() -> None:
    rows: list[Row | BadRow] = [
        Row(0, "text with \u2028 and \r\n inside", "a", {"n": 1}),
        BadRow(1, RowFailure("missing_text", "no text"), "a.jsonl", 2, None),
        Row(2, ""),
    ]
    data = encode_shard(encode_shard_row(row) for row in rows)
    assert decode_shard(data) == rows


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b"x", lambda _: b""]
)
def test_a_damaged_shard_is_seen(damage: object) -> None:
    assert callable(damage)
    with pytest.raises(DamagedPart):
        decode_shard(damage(encode_shard([encode_shard_row(Row(0, "text"))])))
