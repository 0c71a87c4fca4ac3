"""Streaming decompression: whole, damaged and hostile gzip."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import JobFailure
from jobs.intake import expand
from jobs.intake.expansion import FREE_EXPANSION, MAX_PIECE

MIB = 1 << 20


def gunzip(chunks: Iterable[bytes], max_expansion: int = 100) -> bytes:
    return b"".join(expand(chunks, "gzip", max_expansion=max_expansion))


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(
    st.lists(st.binary(max_size=2000), min_size=1, max_size=4),
    st.sampled_from([b"", b"\0", b"\0" * 600, b"\x1f", b"garbage", b"\0\0garbage", b"\0\x1f\0"]),
    st.integers(1, 3000),
)
def test_members_are_joined_and_what_follows_them_is_ignored(
    members: list[bytes], trailer: bytes, size: int
) -> None:
    data = b"".join(map(gzip.compress, members)) + trailer
    assert gunzip(cut(data, size)) == b"".join(members)


def test_zero_padding_between_members_is_skipped() -> None:
    data = gzip.compress(b"one ") + b"\0" * 512 + gzip.compress(b"two")
    assert gunzip(cut(data, 100)) == b"one two"


def test_empty_chunks_do_not_end_the_input() -> None:
    data = gzip.compress(b"text")
    assert gunzip([b"", data[:5], b"", b"", data[5:], b""]) == b"text"


def test_nothing_is_done_without_compression() -> None:
    assert list(expand([b"a", b"", b"b"], None, max_expansion=2)) == [b"a", b"", b"b"]


def test_an_unknown_compression_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="'lzma'"):
        expand([], "lzma", max_expansion=2)


@pytest.mark.parametrize("kept", [1, 2, 9, 10, 500, -8, -1])
def test_truncated(kept: int) -> None:
    data = gzip.compress(b"".join(zlib.crc32(bytes([i])).to_bytes(4) for i in range(256)))[:kept]
    with pytest.raises(JobFailure) as failure:
        gunzip(cut(data, 7))
    assert failure.value.failure_code == "input_corrupt"
    assert f"byte {len(data) if len(data) > 1 else 0}" in failure.value.detail


def test_a_second_member_may_not_be_cut_short_either() -> None:
    whole = gzip.compress(b"first")
    with pytest.raises(JobFailure, match="cut short") as failure:
        gunzip([whole + gzip.compress(b"second")[:-3]])
    assert failure.value.failure_code == "input_corrupt"


@pytest.mark.parametrize("data", [b"", b'{"text": "a"}\n', b"\0\0", b"\x1f", b"PK\x03\x04"])
def test_not_gzip(data: bytes) -> None:
    with pytest.raises(JobFailure, match=r"not gzip.*byte 0") as failure:
        gunzip([data])
    assert failure.value.failure_code == "input_corrupt"


@pytest.mark.parametrize("place", [3, 20, -6, -2])
def test_damaged(place: int) -> None:
    data = bytearray(gzip.compress(b"The quick brown fox jumps over the lazy dog" * 4))
    data[place] ^= 0xFF
    with pytest.raises(JobFailure) as failure:
        gunzip([bytes(data)])
    assert failure.value.failure_code == "input_corrupt"


def endless_zeros() -> Iterator[bytes]:
    """One member that never ends: a block of zeros that stands alone, repeated."""
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    yield packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    yield from repeat(packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH))


@pytest.mark.parametrize(
    "bomb",
    [
        endless_zeros,
        lambda: repeat(gzip.compress(bytes(MIB))),
        lambda: [gzip.compress(bytes(80 * MIB))],
    ],
    ids=["one member", "many members", "one chunk"],
)
def test_a_bomb_costs_no_memory_and_fails(bomb: Callable[[], Iterable[bytes]]) -> None:
    chunks = bomb()
    sizes: list[int] = []
    tracemalloc.start()
    try:
        with pytest.raises(JobFailure) as failure:
            sizes.extend(map(len, expand(chunks, "gzip", max_expansion=100)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert failure.value.failure_code == "input_expansion"
    assert sum(sizes) <= FREE_EXPANSION
    assert max(sizes) <= MAX_PIECE
    assert peak < 8 * MIB


def test_small_input_may_expand_by_any_factor() -> None:
    data = gzip.compress(bytes(16 * MIB))
    assert len(gunzip([data], max_expansion=2)) == 16 * MIB


def test_large_input_may_expand_up_to_the_factor() -> None:
    data = gzip.compress(bytes(66 * MIB))
    sizes = [len(piece) for piece in expand([data], "gzip", max_expansion=2000)]
    assert sum(sizes) == 66 * MIB


def test_any_number_of_empty_members() -> None:
    data = gzip.compress(b"") * 20_000 + gzip.compress(b"end")
    assert gunzip([data]) == b"end"


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=9), st.integers(0, 90_000))
def test_what_comes_out_before_damage_is_the_same_however_it_arrives(
    sizes: list[int], place: int
) -> None:
    data = bytearray(gzip.compress(bytes(range(256)) * 400, 0))
    data[place % len(data)] ^= 0xFF

    def before(chunks: Iterable[bytes]) -> bytes:
        found = bytearray()
        try:
            for piece in expand(chunks, "gzip", max_expansion=100):
                found += piece
        except JobFailure as failure:
            found += failure.detail.encode()
        return bytes(found)

    edges = [sum(sizes[:n]) for n in range(len(sizes) + 1)] + [len(data)]
    pieces = [bytes(data[a:b]) for a, b in pairwise(edges) if a < b]
    assert before(pieces) == before([bytes(data)])
