"""Streaming decompression: whole, damaged and hostile Zstandard."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import JobFailure
from jobs.intake import expand
from jobs.intake.expansion import FREE_EXPANSION, MAX_PIECE
from jobs.intake.unzstd import MAX_WINDOW

MIB = 1 << 20
MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x5a\x2a\x4d\x18"
TEXT = b"".join(b"line %d of a text\n" % number for number in range(20_000))


def unzstd(chunks: Iterable[bytes], max_expansion: int = 100) -> bytes:
    return b"".join(expand(chunks, "zstd", max_expansion=max_expansion))


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def refused(data: bytes, code: str) -> str:
    with pytest.raises(JobFailure) as failure:
        unzstd([data])
    assert failure.value.failure_code == code
    return failure.value.detail


def packed(data: bytes, *, level: int = 3, checksum: bool = True, sized: bool = True) -> bytes:
    packer = zstandard.ZstdCompressor(
        level=level, write_checksum=checksum, write_content_size=sized
    )
    return packer.compress(data)


def streamed(data: bytes, window_log: int = 17) -> bytes:
    """As zstd(1) writes what it reads from a pipe: no size, a window of its own."""
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_checksum=True)
    out = io.BytesIO()
    packer = zstandard.ZstdCompressor(compression_params=parameters)
    packer.copy_stream(io.BytesIO(data), out)
    return out.getvalue()


def skippable(size: int) -> bytes:
    return SKIPPABLE + size.to_bytes(4, "little") + bytes(size)


def runs(count: int, *, last: bool = True) -> bytes:
    """One frame: so many blocks of 128 KiB of the letter a, four bytes each."""
    block = (128 << 10) << 3 | 1 << 1
    body = (block.to_bytes(3, "little") + b"a") * (count - 1)
    return MAGIC + b"\0\x38" + body + (block | last).to_bytes(3, "little") + b"a"


@given(
    st.lists(st.binary(max_size=2000), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from([b"", skippable(0), skippable(900)]),
    st.integers(1, 3000),
)
def test_frames_are_joined_and_skippable_ones_passed_over(
    parts: list[bytes], checksum: bool, sized: bool, between: bytes, size: int
) -> None:
    frames = [between + packed(part, checksum=checksum, sized=sized) for part in parts]
    data = b"".join(frames) + between
    assert unzstd(cut(data, size)) == b"".join(parts)


@pytest.mark.parametrize("level", [-5, 1, 19])
@pytest.mark.parametrize("size", [1, 70_000, 10 * MIB])
def test_frames_of_many_blocks(level: int, size: int) -> None:
    data = packed(TEXT, level=level) + streamed(TEXT) + runs(3)
    assert unzstd(cut(data, size)) == TEXT + TEXT + b"a" * (384 << 10)


def test_empty_frames_and_chunks_do_not_end_the_input() -> None:
    data = packed(b"") * 2000 + packed(b"text")
    assert unzstd([b"", data[:5], b"", data[5:], b""]) == b"text"


@pytest.mark.parametrize("whole", [packed(TEXT), streamed(TEXT), runs(5), packed(b"x")])
def test_truncated(whole: bytes) -> None:
    for kept in {4, 5, 8, len(whole) // 2, len(whole) - 4, len(whole) - 1}:
        detail = refused(whole[:kept], "input_corrupt")
        assert "cut short" in detail
        assert f"byte {kept}" in detail


def test_a_second_frame_may_not_be_cut_short_either() -> None:
    assert "cut short" in refused(packed(b"one") + packed(b"two")[:-2], "input_corrupt")
    assert "cut short" in refused(packed(b"one") + skippable(9)[:-2], "input_corrupt")


@pytest.mark.parametrize("data", [b"", b"\x28", b'{"text": "a"}\n', b"\x1f\x8b\x08\0", b"\0" * 9])
def test_not_zstandard(data: bytes) -> None:
    assert "is not Zstandard" in refused(data, "input_corrupt")


@pytest.mark.parametrize("trailer", [b"\0", b"\0" * 600, b"text that follows"])
def test_nothing_else_may_follow_a_frame(trailer: bytes) -> None:
    assert "is not Zstandard" in refused(packed(b"one") + trailer, "input_corrupt")


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_damaged(place: int, flip: int) -> None:
    """The checksum finds any change that the rest does not; what is left must be an error, never another text."""
    data = bytearray(streamed(TEXT))
    data[place % len(data)] ^= flip
    try:
        found = unzstd([bytes(data)])
    except JobFailure as failure:
        code = failure.failure_code
    else:
        # Only the window's size may differ without harm.
        assert found == TEXT
        return
    assert code in {"input_corrupt", "input_expansion"}


def test_a_dictionary_that_is_not_there() -> None:
    samples: list[bytes | bytearray | memoryview] = [
        b"a line that repeats, number %d, and so on" % number for number in range(500)
    ]
    dictionary = zstandard.train_dictionary(2000, samples)
    data = zstandard.ZstdCompressor(dict_data=dictionary).compress(samples[7])
    assert "dictionary" in refused(data, "input_corrupt")


@pytest.mark.parametrize(
    "header",
    [
        b"\x00" + bytes([(31 - 10) << 3]),  # a window of 2 GiB
        b"\x00\xff",
        b"\x00" + bytes([(27 - 10) << 3 | 1]),  # an eighth more than is allowed
        b"\xa0" + (MAX_WINDOW + 1).to_bytes(4, "little"),  # one segment: its content is its window
        b"\xe0" + b"\xff" * 8,
    ],
)
def test_a_huge_window_is_refused_before_memory_is_taken(header: bytes) -> None:
    tracemalloc.start()
    try:
        detail = refused(MAGIC + header + b"\x01\0\0", "input_expansion")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "at most 128 MiB are allowed" in detail
    assert peak < MIB


def test_the_largest_window_allowed() -> None:
    assert unzstd([streamed(TEXT, window_log=27)]) == TEXT


def endless_runs() -> Iterator[bytes]:
    """One frame that never ends."""
    whole = runs(2, last=False)
    yield whole
    yield from repeat(whole[-4:] * 1000)


@pytest.mark.parametrize(
    "bomb",
    [
        endless_runs,
        lambda: repeat(packed(bytes(MIB))),
        lambda: [runs(1000)],
        lambda: [streamed(bytes(80 * MIB))],
    ],
    ids=["endless frame", "endless frames", "many blocks", "one frame"],
)
def test_a_bomb_is_stopped_in_little_memory(bomb: Callable[[], Iterable[bytes]]) -> None:
    sizes: list[int] = []
    chunks = bomb()
    tracemalloc.start()
    try:
        with pytest.raises(JobFailure) as failure:
            sizes.extend(len(piece) for piece in expand(chunks, "zstd", max_expansion=100))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert failure.value.failure_code == "input_expansion"
    assert sum(sizes) <= FREE_EXPANSION
    assert max(sizes) <= MAX_PIECE
    assert peak < 8 * MIB


def test_input_may_expand_up_to_the_factor() -> None:
    assert len(unzstd([streamed(bytes(66 * MIB))], max_expansion=40_000)) == 66 * MIB
    assert len(unzstd([streamed(bytes(16 * MIB))], max_expansion=2)) == 16 * MIB
