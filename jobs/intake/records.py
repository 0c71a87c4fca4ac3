"""Records of a CSV or TSV stream: RFC 4180 quoting, in bounded memory, with recovery from broken quoting.

A quote has a meaning only at a cell's start; elsewhere it is text. Nothing but a delimiter or a line end may follow
the closing quote. Lines end in LF or CRLF; an empty line between records is passed over.

A faulty record is reported once, and reading goes on in a line that its failure names. Which one:

* The record passes the limit outside a quoted cell: the next line.
* Something else follows a closing quote; or the input ends, or the record passes the limit, inside a quoted cell.
  Where the lines inside that cell have as many columns as the header, they are records and the quote was a stray one:
  the line after the quote, so that one stray quote costs one record and not the rest of the file. Otherwise they
  may well be text, which must not be taken for records: the line after the fault, or after the cell's end
  where the cell is only too large.

No input makes this quadratic: between an opening quote and the fault stand only doubled quotes, and those cannot open
a cell that reaches into the next line. So what is read again is not read a third time, but for the fault's own line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.intake.objects import too_large
from jobs.rows import RowFailure

#: Lines looked at to tell records from text.
_LINES_SEEN = 10

_QUOTE = b'"'
#: What stands between a cell's quotes. Possessive: linear time, whatever the input.
_QUOTED_TEXT = re.compile(rb'[^"]*+(?:""[^"]*+)*+')


@dataclass(frozen=True, slots=True)
class Record:
    """One record, or what could be read of one."""

    line: int  #: its first line, from 1
    #: Unquoted. Of a faulty record those before the fault; at most one more than the header has.
    cells: list[bytes]
    fault: RowFailure | None = None


class _Fault(Exception):
    """Ends the reading of a record that is faulty; the reader already stands where reading goes on."""

    def __init__(self, failure: RowFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class RecordReader:
    """Reads records off a stream. The record being read begins where the buffer begins."""

    def __init__(self, pieces: Iterable[bytes], *, delimiter: bytes, limit: int) -> None:
        self._pieces = iter(pieces)
        self._delimiter = delimiter
        self._cell_end = re.compile(b"[" + re.escape(delimiter) + b"\n]")
        self._limit = limit  # bytes of a record without its line end
        self._columns = 0  # of the header; 0 while unknown
        self._buffer = bytearray()
        self._line = 1  # number of the buffer's first line
        self._taken = 0  # bytes that have left the buffer

    def header(self) -> Record | None:
        """The first record; None if there is none. Its columns help to tell records from large cells."""
        record = next(self.records(), None)
        if record is not None:
            self._columns = len(record.cells)
        return record

    def records(self) -> Iterator[Record]:
        """The records that follow."""
        while True:
            end = self._line_end()
            if not self._buffer:
                return
            if self._buffer.find(_QUOTE, 0, min(end, self._limit + 1)) >= 0:
                yield self._quoted_record()
            elif end > 1 or self._buffer[:end].strip(b"\r"):
                yield self._plain_record(end)
            else:
                self._drop(end + 1)

    def _line_end(self) -> int:
        """Where the first line ends; if it is too long, some place beyond the limit."""
        end = self._buffer.find(b"\n")
        while end < 0 and len(self._buffer) <= self._limit + 1:
            seen = len(self._buffer)
            if not self._more():
                break
            end = self._buffer.find(b"\n", seen)
        return end if end >= 0 else len(self._buffer)

    def _plain_record(self, end: int) -> Record:
        line = self._line
        if end <= self._limit + 1:
            text = bytes(self._buffer[:end]).removesuffix(b"\r")
            if len(text) <= self._limit:
                self._drop(end + 1)
                return Record(line, text.split(self._delimiter, self._columns or -1))
        return Record(line, [], too_large(self._pass_line(0), self._limit))

    def _quoted_record(self) -> Record:
        line = self._line
        cells: list[bytes] = []
        try:
            end = self._read_cells(cells)
        except _Fault as fault:
            return Record(line, cells, fault.failure)
        self._drop(end)
        return Record(line, cells)

    def _read_cells(self, cells: list[bytes]) -> int:
        """Read the record's cells into ``cells`` and find where the next record begins."""
        at = column = 0
        while True:
            column += 1
            if self._peek(at, 1) == _QUOTE:
                closing = self._closing_quote(at, column=column)
                self._check_end(at, closing + 1, column=column)
                cell = bytes(self._buffer[at + 1 : closing]).replace(b'""', _QUOTE)
                at = closing + 1
            else:
                end = self._unquoted_end(at)
                cell = bytes(self._buffer[at:end])
                if self._buffer[end : end + 1] != self._delimiter:
                    cell = cell.removesuffix(b"\r")
                at = end
            if len(cells) <= self._columns or not self._columns:
                cells.append(cell)
            if self._buffer[at : at + 1] != self._delimiter:
                return self._buffer.find(b"\n", at) + 1 or len(self._buffer)
            at += 1

    def _unquoted_end(self, at: int) -> int:
        """Where the cell that begins at ``at`` ends: at a delimiter, a line end, or the input's end."""
        seen = at
        while (found := self._cell_end.search(self._buffer, seen)) is None:
            seen = len(self._buffer)
            if seen > self._limit + 1 or not self._more():
                break
        end = found.start() if found else len(self._buffer)
        more = self._buffer[end : end + 1] == self._delimiter
        size = end + 1 if more else end - self._buffer.endswith(b"\r", at, end)
        if size > self._limit:
            raise _Fault(too_large(self._pass_line(at), self._limit))
        return end

    def _closing_quote(self, opening: int, *, column: int) -> int:
        at = opening + 1
        while True:
            at = self._skip_quoted(at)
            if at >= self._limit:
                raise _Fault(self._still_open(opening, at, column))
            if at + 1 < len(self._buffer):
                return at
            if not self._more():
                break
        if at < len(self._buffer):
            return at
        what = self._the_quote(opening, column)
        raise _Fault(
            RowFailure("invalid_csv", f"{what} is never closed{self._recover(opening, at)}")
        )

    def _check_end(self, opening: int, at: int, *, column: int) -> None:
        """Nothing but a delimiter or a line end may follow a closing quote."""
        following = self._peek(at, 2)
        if following[:1] in (self._delimiter, b"\n", b"") or following in (b"\r\n", b"\r"):
            return
        line = self._line_of(at)
        found = self._peek(at, 4).decode(errors="replace")[0]
        reason = (
            f"column {column}: expected a delimiter or the line's end after the closing quote in line {line}, "
            f"found {found!r} (a quote inside a quoted cell must be doubled){self._recover(opening, at)}"
        )
        raise _Fault(RowFailure("invalid_csv", reason))

    def _still_open(self, opening: int, at: int, column: int) -> RowFailure:
        """The record passes the limit inside a quoted cell: find out why, and move on."""
        what = self._the_quote(opening, column)
        if self._holds_records(opening, self._limit):
            reason = (
                f"{what} is not closed within {self._limit} bytes, and records seem to follow it"
            )
            return RowFailure("row_too_large", reason + self._recover(opening, self._limit))
        begin = self._taken
        if self._pass_quoted(at):
            return too_large(self._pass_line(0, begin), self._limit, self._going_on())
        reason = f"{what} is never closed: the {self._taken - begin} bytes up to the end were passed over"
        return RowFailure("row_too_large", reason)

    def _holds_records(self, opening: int, fault: int) -> bool:
        """Whether the lines between an opening quote and where it proved wrong look like records."""
        _, *lines = bytes(self._buffer[opening:fault]).split(b"\n", _LINES_SEEN + 1)
        if self._columns < 2 or not lines:
            return False
        delimiters = self._columns - 1
        if len(lines) > 1:
            return all(line.count(self._delimiter) == delimiters for line in lines[:-1])
        # The fault's own line has quotes, and so perhaps delimiters inside cells.
        return self._rest_of_line(fault - len(lines[0])).count(self._delimiter) >= delimiters

    def _rest_of_line(self, at: int) -> bytes:
        """The line from ``at`` on, up to the limit."""
        while self._buffer.find(b"\n", at) < 0 and len(self._buffer) <= self._limit:
            if not self._more():
                break
        return bytes(self._buffer[at : self._limit]).partition(b"\n")[0]

    # --- moving on -----------------------------------------------------------------------------------

    def _recover(self, opening: int, at: int) -> str:
        """Go on after a fault at ``at`` in the cell that opens at ``opening``; says where."""
        if self._holds_records(opening, at):
            self._drop(self._buffer.find(b"\n", opening) + 1)
        else:
            self._pass_line(at)
        return self._going_on()

    def _going_on(self) -> str:
        return f"; reading went on in line {self._line}" if self._peek(0, 1) else ""

    def _pass_quoted(self, at: int) -> bool:
        """Move up to the closing quote of the cell that ``at`` is in; False if there is none."""
        while True:
            self._drop(at)
            at = self._skip_quoted(0)
            if at + 1 < len(self._buffer):
                break
            self._drop(at)
            if not self._more():
                return bool(self._buffer)
            at = 0
        self._drop(at)
        return True

    def _pass_line(self, at: int, begin: int | None = None) -> int:
        """Move past the end of the line that ``at`` is in; the bytes passed since ``begin``, without line end."""
        begin = self._taken if begin is None else begin
        while (end := self._buffer.find(b"\n", at)) < 0:
            self._drop(len(self._buffer))
            at = 0
            if not self._more():
                return self._taken - begin
        self._drop(end + 1)
        return self._taken - begin - 1

    # --- the buffer ----------------------------------------------------------------------------------

    def _skip_quoted(self, at: int) -> int:
        """The first place from ``at`` on, inside a quoted cell, that may be its closing quote or is not read yet."""
        found = _QUOTED_TEXT.match(self._buffer, at)
        return found.end() if found else at

    def _peek(self, at: int, size: int) -> bytes:
        while len(self._buffer) < at + size and self._more():
            pass
        return bytes(self._buffer[at : at + size])

    def _the_quote(self, at: int, column: int) -> str:
        return f"the quote that opens column {column} in line {self._line_of(at)}"

    def _line_of(self, at: int) -> int:
        return self._line + self._buffer.count(b"\n", 0, at)

    def _more(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._buffer += piece
        return True

    def _drop(self, upto: int) -> None:
        upto = min(upto, len(self._buffer))
        self._line += self._buffer.count(b"\n", 0, upto)
        self._taken += upto
        del self._buffer[:upto]
