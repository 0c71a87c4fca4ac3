"""Just enough of Thrift's compact protocol to read the header of a Parquet page.

Written after the specification, ``thrift-compact-protocol.md`` of Apache Thrift.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_VARINTS = {_I16, _I32, _I64}
_MAX_DEPTH = 16


class MalformedThrift(ValueError):
    """The bytes are no struct."""


class CutThrift(ValueError):
    """The struct goes on beyond the bytes given."""


@dataclass(slots=True)
class Struct:
    """What is wanted of a struct: its 32-bit integers and the structs inside it, by field number."""

    numbers: dict[int, int] = field(default_factory=dict)
    structs: dict[int, Struct] = field(default_factory=dict)


def read_struct(data: bytes) -> tuple[Struct, int]:
    """The struct that ``data`` begins with, and how many bytes it takes.

    Raises:
        CutThrift: ``data`` ends inside it; the caller may try again with more.
        MalformedThrift: it is none.
    """
    reader = _Reader(data)
    try:
        found = reader.struct(0)
    except IndexError:
        raise CutThrift("the struct is cut short") from None
    if reader.at > len(data):  # a string was passed over that goes on
        raise CutThrift("the struct is cut short")
    return found, reader.at


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int) -> Struct:
        if depth > _MAX_DEPTH:
            raise MalformedThrift("structs are nested too deeply")
        found = Struct()
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 15
            if kind == _I32:
                found.numbers[number] = self._zigzag()
            elif kind == _STRUCT:
                found.structs[number] = self.struct(depth + 1)
            elif kind not in (_TRUE, _FALSE):  # a field's type is such a field's value
                self._pass(kind, depth)
        return found

    def _pass(self, kind: int, depth: int) -> None:
        """Move past a value, as it stands in a collection or, but for booleans, in a field."""
        if kind in _VARINTS:
            self._varint()
        elif kind in (_TRUE, _FALSE, _BYTE):
            self._byte()
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            size = self._varint()
            self.at += size
        elif kind in (_LIST, _SET):
            head = self._byte()
            size = head >> 4 if head >> 4 < 15 else self._varint()
            self._pass_all([head & 15], size, depth)
        elif kind == _MAP:
            size = self._varint()
            kinds = self._byte() if size else 0
            self._pass_all([kinds >> 4, kinds & 15], size, depth)
        elif kind == _STRUCT:
            self.struct(depth + 1)
        else:
            raise MalformedThrift(f"there is no type {kind}")

    def _pass_all(self, kinds: list[int], size: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise MalformedThrift("collections are nested too deeply")
        for _ in range(size):  # each value takes a byte at least, so that the data ends this
            for kind in kinds:
                self._pass(kind, depth + 1)

    def _byte(self) -> int:
        byte = self._data[self.at]
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

    def _zigzag(self) -> int:
        """A 32-bit integer; of a longer one the lower bits, as Thrift's own readers take it."""
        value = self._varint() & 0xFFFFFFFF
        return (value >> 1) ^ -(value & 1)
