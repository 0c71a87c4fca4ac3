"""Writing the index of a run: its rows sorted on local disk, cut into objects, the record last.

The same rows give the same bytes, so two that build an index at once, or one after the other, do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Self

import zstandard

from jobs.corpora import DIGEST_BYTES
from jobs.rows import Marks
from storage.corpus.index import (
    DIGESTS,
    FAILED,
    NAMES,
    OUTPUTS,
    CorpusIndexes,
    IndexObject,
    IndexRecord,
    Measured,
)
from storage.corpus.scratch import open_scratch, scratch_faults

#: Bytes of outputs, uncompressed, that one object holds; one more row may fit on top.
_OUTPUT_BYTES = 4 << 20

#: Digests in one object.
_DIGESTS = 64 << 10

#: Rows that are put aside at once.
_BATCH = 2_000

_LEVEL = 3


class IndexBuilder:
    """Collects the rows of a run, in the order of its input, and writes their index.

    Where rows are alike the first one's output counts. Use it as a context.
    """

    def __init__(self) -> None:
        self._table = open_scratch()
        self._rows: list[tuple[bytes, bytes | None]] = []
        self._names: list[tuple[bytes]] = []
        with scratch_faults():
            self._table.execute("CREATE TABLE made (digest BLOB, output BLOB)")
            self._table.execute("CREATE TABLE names (name BLOB)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()

    def add(self, marks: Marks, output: bytes | None) -> None:
        """A row, with its ``{"output", "usage"}`` in JSON on one line; None: it had no result."""
        self._rows.append((marks.digest, output))
        self.add_name(marks.name)

    def add_name(self, name: bytes) -> None:
        """The name of a row that could not even be read."""
        self._names.append((name,))
        if len(self._names) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        with scratch_faults():
            self._table.execute("BEGIN")
            self._table.executemany("INSERT INTO made VALUES (?, ?)", self._rows)
            self._table.executemany("INSERT INTO names VALUES (?)", self._names)
            self._table.execute("COMMIT")
        self._rows.clear()
        self._names.clear()

    def write(
        self,
        indexes: CorpusIndexes,
        *,
        key: str,
        job: str,
        run: str,
        fingerprint: str,
        rows: int,
        measured: Measured,
        check: Callable[[], None],
    ) -> IndexRecord:
        """Write the index; its record.

        Args:
            indexes: where to.
            key: names it.
            job, run: whose it is.
            fingerprint: what the outputs follow from.
            rows: of the run, in all.
            measured: what its rows cost.
            check: called between objects; raises to give up.

        Raises:
            ScratchFull: the local disk is full.
            Unavailable: the store is away.
        """
        self._flush()
        counts = dict.fromkeys((DIGESTS, FAILED, NAMES), 0)
        objects: list[IndexObject] = []

        def put(family: str, number: int, data: bytes) -> None:
            check()
            objects.append(indexes.put(key, f"{family}/{number:06d}", data))

        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        for number, (digests, outputs) in enumerate(_cut(self._made())):
            put(DIGESTS, number, b"".join(digests))
            put(OUTPUTS, number, compressor.compress(bytes(outputs)))
            counts[DIGESTS] += len(digests)
        for family, query in ((FAILED, _FAILED), (NAMES, _ALL_NAMES)):
            for number, found in enumerate(self._joined(query)):
                put(family, number, found)
                counts[family] += len(found) // DIGEST_BYTES
        check()
        record = IndexRecord(
            key=key,
            job=job,
            run=run,
            fingerprint=fingerprint,
            rows=rows,
            digests=counts[DIGESTS],
            failed=counts[FAILED],
            names=counts[NAMES],
            measured=measured,
            objects=objects,
        )
        indexes.complete(record)
        return record

    def _made(self) -> Iterator[tuple[bytes, bytes]]:
        """Different rows with a result, by their digests."""
        last = None
        for digest, output in self._selected(_MADE):
            if digest != last:
                yield digest, output
            last = digest

    def _joined(self, query: str) -> Iterator[bytes]:
        """What a query finds, so much of it at a time as an object holds."""
        found = (row[0] for row in self._selected(query))
        while digests := list(islice(found, _DIGESTS)):
            yield b"".join(digests)

    def _selected(self, query: str) -> Iterator[tuple[bytes, ...]]:
        with scratch_faults():
            yield from self._table.execute(query)


# SQLite sorts what does not fit into its cache by merging files of its own.
_MADE = "SELECT digest, output FROM made WHERE output IS NOT NULL ORDER BY digest, rowid"
_FAILED = """SELECT digest FROM made WHERE output IS NULL
    EXCEPT SELECT digest FROM made WHERE output IS NOT NULL ORDER BY digest"""
_ALL_NAMES = "SELECT DISTINCT name FROM names ORDER BY name"


def _cut(made: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[list[bytes], bytearray]]:
    """Rows in groups that are an object each."""
    digests: list[bytes] = []
    outputs = bytearray()
    for digest, output in made:
        digests.append(digest)
        outputs += output
        outputs += b"\n"
        if len(outputs) >= _OUTPUT_BYTES or len(digests) >= _DIGESTS:
            yield digests, outputs
            digests, outputs = [], bytearray()
    if digests:
        yield digests, outputs
