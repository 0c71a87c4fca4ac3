"""Shards and parts as objects: zstd-compressed JSON lines.

A shard holds the rows of one range. A part holds what became of them: one header line, then all result lines,
then all error lines, each in input order. The header counts their bytes, so joining parts into the
final files copies bytes and parses no row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson
import zstandard

from jobs.errors import Unavailable
from jobs.names import JobNames
from jobs.ranges import RowRange
from jobs.rows import ShardRow, Usage, decode_shard_line
from storage.ledger import CommittedPart
from storage.objects import ObjectStore

#: zstd's level for shards and parts: about 500 MB/s, and close to gzip's size.
_LEVEL = 3

#: Compressed bytes of a shard that are decoded at once.
_SLICE = 16 << 10


NO_USAGE = Usage()

#: Bytes of a part's object that surely hold its first line.
_HEAD_BYTES = 64 << 10


class DamagedPart(RuntimeError):
    """A part is not what its header says."""


@dataclass(frozen=True, kw_only=True)
class PartHeader:
    """The first line of a part."""

    rows: RowRange
    results: int  #: result lines
    errors: int  #: error lines
    results_bytes: int
    errors_bytes: int
    sha256: str  #: of everything behind the header
    generation: int = 1
    usage: Usage = NO_USAGE
    device_ms: int = 0

    def encode(self) -> bytes:
        entry = {
            "format": 1,
            "range": str(self.rows),
            "generation": self.generation,
            "results": self.results,
            "errors": self.errors,
            "results_bytes": self.results_bytes,
            "errors_bytes": self.errors_bytes,
            "sha256": self.sha256,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "device_ms": self.device_ms,
        }
        return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def decode(cls, line: bytes) -> PartHeader:
        entry = orjson.loads(line)
        return cls(
            rows=RowRange.parse(entry["range"]),
            results=entry["results"],
            errors=entry["errors"],
            results_bytes=entry["results_bytes"],
            errors_bytes=entry["errors_bytes"],
            sha256=entry["sha256"],
            generation=entry["generation"],
            usage=Usage(entry["input_tokens"], entry["output_tokens"]),
            device_ms=entry["device_ms"],
        )


@dataclass
class PartLines:
    """The lines of a part as they are made, joined at once.

    A list of them would cost several times their size: a line of JSON comes in a buffer larger than itself.
    """

    results: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    result_count: int = 0
    error_count: int = 0

    def add_result(self, line: bytes) -> None:
        """The next row has a result."""
        self.results += line
        self.result_count += 1

    def add_error(self, line: bytes) -> None:
        """The next row has an error."""
        self.errors += line
        self.error_count += 1

    def __len__(self) -> int:
        """Rows so far."""
        return self.result_count + self.error_count

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self.results) + len(self.errors)

    def encode(
        self,
        rows: RowRange,
        *,
        generation: int = 1,
        usage: Usage = NO_USAGE,
        device_ms: int = 0,
    ) -> bytes:
        """The object of a part.

        Raises:
            ValueError: not every row of the range has its line.
        """
        if len(self) != len(rows):
            raise ValueError(
                f"{self.result_count} results and {self.error_count} errors for rows {rows}"
            )
        digest = hashlib.sha256(self.results)
        digest.update(self.errors)
        header = PartHeader(
            rows=rows,
            results=self.result_count,
            errors=self.error_count,
            results_bytes=len(self.results),
            errors_bytes=len(self.errors),
            sha256=digest.hexdigest(),
            generation=generation,
            usage=usage,
            device_ms=device_ms,
        )
        return _compressed(header.encode(), self.results, self.errors)


def encode_part(
    rows: RowRange,
    results: Iterable[bytes],
    errors: Iterable[bytes],
    *,
    generation: int = 1,
    usage: Usage = NO_USAGE,
    device_ms: int = 0,
) -> bytes:
    """The object of a part. Every row of the range has its line in exactly one of both."""
    lines = PartLines()
    for line in results:
        lines.add_result(line)
    for line in errors:
        lines.add_error(line)
    return lines.encode(rows, generation=generation, usage=usage, device_ms=device_ms)


def encode_shard(lines: Iterable[bytes | bytearray]) -> bytes:
    """The object of a shard, from lines or blocks of lines."""
    return _compressed(*lines)


def decode_shard(data: bytes) -> list[ShardRow]:
    """The rows of a shard, in order.

    Raises:
        DamagedPart: it is not what was written.
    """
    return list(iterate_shard(data))


def shard_text(data: bytes) -> bytes:
    """A shard's lines, uncompressed.

    Raises:
        DamagedPart: it is not what was written.
    """
    return b"".join(_decompressed([data]))


def iterate_shard(data: bytes) -> Iterator[ShardRow]:
    """The rows of a shard, in order, each decoded when it is asked for.

    Raises:
        DamagedPart: while iterating: it is not what was written.
    """
    return map(decode_shard_line, shard_lines(data))


def shard_lines(data: bytes) -> Iterator[bytes]:
    """A shard's lines, in order, some of them decompressed at a time.

    Raises:
        DamagedPart: while iterating: it is not what was written.
    """
    slices = (data[at : at + _SLICE] for at in range(0, len(data), _SLICE))
    unfinished = b""
    for piece in _decompressed(slices):
        lines = (unfinished + piece).split(b"\n")
        unfinished = lines.pop()
        yield from lines


def _compressed(*blocks: bytes | bytearray) -> bytes:
    # zstd's own checksum also covers the header of a part, which the SHA-256 in it cannot.
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    # A size given beforehand stands in the frame's header; see shard_bytes.
    frame = compressor.compressobj(size=sum(map(len, blocks)))
    return b"".join([*map(frame.compress, blocks), frame.flush()])


def shard_bytes(data: bytes) -> int:
    """Size of a shard's lines, uncompressed; read from the frame's header."""
    return int(zstandard.frame_content_size(data))


def _decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    for chunk in chunks:
        if decompressor.eof:
            raise DamagedPart("the object goes on behind its end")
        try:
            yield decompressor.decompress(chunk)
        except zstandard.ZstdError as error:
            raise DamagedPart(f"the object cannot be decompressed ({error})") from error
    if not decompressor.eof or decompressor.unused_data:
        raise DamagedPart("the object is shorter or longer than it was written")


def open_part(
    store: ObjectStore, names: JobNames, part: CommittedPart
) -> tuple[PartHeader, Iterator[tuple[str, bytes]]]:
    """A committed part's header and its bytes, each piece named ``results`` or ``errors``.

    The pieces are checked against the header's checksum as they pass.

    Raises:
        DamagedPart: at once or while iterating, when the object is no part or not what its header says.
        ObjectMissing: there is no such part.
    """
    chunks = _decompressed(store.stream(names.part(part.rows, part.token)))
    header, rest = _header(chunks, part)
    return header, _sections(header, rest, chunks)


def read_header(store: ObjectStore, names: JobNames, part: CommittedPart) -> PartHeader:
    """Only the header of a part, from the first bytes of its object.

    Raises:
        DamagedPart: it has none.
        ObjectMissing: there is no such part.
    """
    data = store.stream(names.part(part.rows, part.token), length=_HEAD_BYTES)
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        return _header((decompressor.decompress(chunk) for chunk in data), part)[0]
    except zstandard.ZstdError as error:
        raise DamagedPart(f"part {part.rows} cannot be decompressed ({error})") from error


def _header(chunks: Iterator[bytes], part: CommittedPart) -> tuple[PartHeader, bytes]:
    """A part's header and what was read behind it."""
    head = b""
    while b"\n" not in head:
        piece = next(chunks, None)
        if piece is None:
            raise DamagedPart(f"part {part.rows} has no header")
        head += piece
    line, _, rest = head.partition(b"\n")
    try:
        header = PartHeader.decode(line)
    except (ValueError, LookupError, TypeError) as error:
        raise DamagedPart(f"part {part.rows} has no header") from error
    if header.rows != part.rows:
        raise DamagedPart(f"part {part.rows} holds rows {header.rows}")
    return header, rest


def _sections(
    header: PartHeader, first: bytes, chunks: Iterator[bytes]
) -> Iterator[tuple[str, bytes]]:
    digest = hashlib.sha256()
    left = {"results": header.results_bytes, "errors": header.errors_bytes}
    piece: bytes | None = first
    while piece is not None:
        digest.update(piece)
        for name in ("results", "errors"):
            taken, piece = piece[: left[name]], piece[left[name] :]
            left[name] -= len(taken)
            if taken:
                yield name, taken
        if piece:
            raise DamagedPart(f"part {header.rows} is longer than its header says")
        piece = next(chunks, None)
    if any(left.values()) or digest.hexdigest() != header.sha256:
        raise DamagedPart(f"part {header.rows} does not have its checksum")


def stream_parts(
    store: ObjectStore, names: JobNames, parts: Iterable[CommittedPart], section: str
) -> Iterator[bytes]:
    """The ``results`` or ``errors`` of committed parts, one after the other."""
    for part in parts:
        try:
            _, pieces = open_part(store, names, part)
            yield from (piece for name, piece in pieces if name == section)
        except DamagedPart as error:
            raise Unavailable(str(error)) from error
