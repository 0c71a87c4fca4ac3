"""Pieces end where the lines say, however the stream was cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.outtake import Cut, Piece, cut_lines
from tests.unit.outtake.lines import cut

LINES = st.lists(
    st.binary(max_size=12).map(lambda one: one.replace(b"\n", b"x") + b"\n"), max_size=40
)


def expected(lines: list[bytes], limits: Cut) -> list[bytes]:
    """The pieces, line by line."""
    pieces: list[list[bytes]] = [[]]
    for line in lines:
        last = pieces[-1]
        if len(last) >= limits.rows or sum(map(len, last)) >= limits.bytes:
            pieces.append(last := [])
        last.append(line)
    return [b"".join(piece) for piece in pieces]


@given(LINES, st.integers(1, 10), st.integers(1, 60), st.integers(1, 50))
def test_pieces_are_a_function_of_the_lines(
    lines: list[bytes], rows: int, size: int, chunk: int
) -> None:
    limits = Cut(rows=rows, bytes=size)
    wanted = expected(lines, limits)
    found = []
    for piece in cut_lines(cut(b"".join(lines), chunk), limits):
        found.append(b"".join(piece.chunks()))
        assert piece.rows == found[-1].count(b"\n")
    assert found == wanted


def test_no_lines_are_one_empty_piece() -> None:
    (piece,) = cut_lines([], Cut(rows=1, bytes=1))
    assert (list(piece.chunks()), piece.rows) == ([], 0)


def test_a_whole_stream_is_counted() -> None:
    piece = Piece.whole([b"a\nb", b"\n"])
    assert (b"".join(piece.chunks()), piece.rows) == (b"a\nb\n", 2)
