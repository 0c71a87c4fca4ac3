"""Just enough of Thrift's compact protocol to read what Parquet says of its columns and pages.

Written after the specification, ``thrift-compact-protocol.md`` of Apache Thrift. Where data say something twice, or
more in an integer than it holds, they are understood as Thrift's own readers do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, STRUCT = range(1, 13)
LIST = _LIST
I64 = _I64
_BITS = {_I16: 16, _I32: 32, _I64: 64}
_MAX_DEPTH = 16


class MalformedThrift(ValueError):
    """The bytes are no struct."""


class CutThrift(MalformedThrift):
    """The struct goes on beyond the bytes given."""


@dataclass(slots=True)
class Struct:
    """What is wanted of a struct: its integers, the structs and the lists of integers inside it, by field number."""

    numbers: dict[int, int] = field(default_factory=dict)
    structs: dict[int, Struct] = field(default_factory=dict)
    lists: dict[int, list[int]] = field(default_factory=dict)


def read_struct(data: bytes) -> tuple[Struct, int]:
    """The struct that ``data`` begins with, and how many bytes it takes.

    Raises:
        CutThrift: ``data`` ends inside it; the caller may try again with more.
        MalformedThrift: it is none.
    """
    reader = ThriftReader(data)
    found = reader.struct()
    reader.require(0)  # a string that was passed over may go on
    return found, reader.at


class ThriftReader:
    """Reads values one after the other. Each call raises CutThrift or MalformedThrift where there is none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def require(self, size: int) -> None:
        """Check that so many bytes are left."""
        if self.at + size > len(self._data):
            raise CutThrift("the struct is cut short")

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of the struct that begins here. Its value must be read or passed each time."""
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self.integer(_I16)
            yield number, head & 15

    def struct(self, depth: int = 0) -> Struct:
        """The struct that begins here."""
        if depth > _MAX_DEPTH:
            raise MalformedThrift("structs are nested too deeply")
        found = Struct()
        for number, kind in self.fields():
            if kind in _BITS:
                found.numbers[number] = self.integer(kind)
            elif kind == STRUCT:
                found.structs[number] = self.struct(depth + 1)
            elif kind == _LIST:
                inner, size = self.list_head()
                if inner in _BITS:
                    found.lists[number] = [self.integer(inner) for _ in range(size)]
                else:
                    self._pass_all([inner], size, depth)
            else:
                self.pass_field(kind, depth)
        return found

    def list_head(self) -> tuple[int, int]:
        """Type and number of the values of the list that begins here."""
        head = self._byte()
        size = head >> 4 if head >> 4 < 15 else self._varint()
        self.require(size)  # each takes a byte at least
        return head & 15, size

    def integer(self, kind: int = _I64) -> int:
        """An integer; of one that is longer than its type the lower bits."""
        value = self._varint() & (1 << _BITS[kind]) - 1
        return (value >> 1) ^ -(value & 1)

    def pass_field(self, kind: int, depth: int = 0) -> None:
        """Move past the value of a field."""
        if kind not in (_TRUE, _FALSE):  # the type is the value
            self.pass_value(kind, depth)

    def pass_value(self, kind: int, depth: int = 0) -> None:
        """Move past a value as it stands in a list."""
        if kind in _BITS:
            self._varint()
        elif kind in (_TRUE, _FALSE, _BYTE):
            self._byte()
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            size = self._varint()
            self.at += size
        elif kind in (_LIST, _SET):
            inner, size = self.list_head()
            self._pass_all([inner], size, depth)
        elif kind == _MAP:
            size = self._varint()
            kinds = self._byte() if size else 0
            self._pass_all([kinds >> 4, kinds & 15], size, depth)
        elif kind == STRUCT:
            self._pass_struct(depth + 1)
        else:
            raise MalformedThrift(f"there is no type {kind}")

    def _pass_struct(self, depth: int) -> None:
        for _, kind in self.fields():
            self.pass_field(kind, depth)

    def _pass_all(self, kinds: list[int], size: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise MalformedThrift("values are nested too deeply")
        for _ in range(size):  # each value takes a byte at least, so that the data end this
            for kind in kinds:
                self.pass_value(kind, depth + 1)

    def _byte(self) -> int:
        try:
            byte = self._data[self.at]
        except IndexError:
            raise CutThrift("the struct is cut short") from None
        self.at += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift >= 70:
                raise MalformedThrift("an integer has more than ten bytes")
