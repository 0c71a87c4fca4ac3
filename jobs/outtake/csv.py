"""Rows as CSV (RFC 4180): UTF-8, a header, lines that end in CRLF.

Nothing in a cell is altered: no leading quote guards spreadsheets against texts that look like formulas.
A null is an empty cell; an empty text is a pair of quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import orjson

from jobs.outtake.columns import Cell, Table
from jobs.outtake.lines import split_lines

#: Bytes of CSV, about, that are put together before they go out.
_CHUNK = 1 << 16

#: RFC 4180 wants quotes around these; the blank edges are for readers that would strip them.
_WANTS_QUOTES = re.compile(r'\A\Z|\A\s|\s\Z|[",\r\n]')


def csv_bytes(chunks: Iterable[bytes], table: Table) -> Iterator[bytes]:
    """JSON lines as CSV.

    Raises:
        BrokenLines: while iterating: the lines do not end with a line's end.
    """
    held = bytearray(_record([column.name for column in table.columns]))
    for line in split_lines(chunks):
        held += _record(table.cells(orjson.loads(line)))
        if len(held) >= _CHUNK:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _record(cells: Sequence[Cell]) -> bytes:
    return (",".join(map(_text, cells)) + "\r\n").encode()


def _text(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case str():
            return '"' + cell.replace('"', '""') + '"' if _WANTS_QUOTES.search(cell) else cell
        case bool():
            return "true" if cell else "false"
        case _:
            return repr(cell)  # the shortest text that reads back as the same number
