"""Asking the index of the run before about rows, in bounded memory however many it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from jobs.corpora import Seen
from jobs.rows import Marks
from storage.corpus.index import DIGESTS, FAILED, NAMES, CorpusIndexes, IndexRecord
from storage.corpus.scratch import open_scratch, scratch_faults

#: Rows that are asked for in one query.
_ASKED = 500


class Lookup:
    """An index, or none, ready to be asked. Use it as a context.

    Names that were asked for are remembered as a bit each.
    """

    def __init__(self) -> None:
        self._table = open_scratch()
        self._names = 0  # how many there are
        self._asked = bytearray()
        # Keys come in order, so that each is put behind the one before.
        with scratch_faults():
            self._table.execute(
                "CREATE TABLE rows (digest BLOB PRIMARY KEY, output BLOB) WITHOUT ROWID"
            )
            self._table.execute(
                "CREATE TABLE names (name BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what was put aside."""
        self._table.close()

    def load(
        self,
        indexes: CorpusIndexes,
        record: IndexRecord,
        *,
        outputs: bool,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Read an index.

        Args:
            indexes: where it lies.
            record: the index.
            outputs: whether outputs will be asked for, or only whether there are such rows.
            check: called between objects; raises to give up.

        Raises:
            DamagedIndex: part of it is not there, or not what was written.
            ScratchFull: the local disk is full.
            Unavailable: the store is away.
        """
        if outputs:
            for pairs in indexes.outputs(record):
                check()
                self._insert("INSERT INTO rows VALUES (?, ?)", pairs)
        else:
            for known in indexes.sorted(record, DIGESTS):
                check()
                self._insert("INSERT INTO rows VALUES (?, x'')", ((one,) for one in known))
        for failed in indexes.sorted(record, FAILED):
            check()
            self._insert("INSERT OR IGNORE INTO rows VALUES (?, NULL)", ((one,) for one in failed))
        for names in indexes.sorted(record, NAMES):
            check()
            first = self._names
            self._insert(
                "INSERT INTO names VALUES (?, ?)",
                zip(names, range(first, first + len(names)), strict=True),
            )
            self._names += len(names)
        self._asked = bytearray(-(-self._names // 8))

    def find(self, rows: Sequence[Marks]) -> list[tuple[Seen, bytes | None]]:
        """What is known of each row, and what it gave where outputs were loaded.

        Raises:
            ScratchFull: the local disk is full or broken.
        """
        outputs = self._found("rows", {row.digest for row in rows})
        numbers = self.ask([row.name for row in rows])
        found: list[tuple[Seen, bytes | None]] = []
        for row in rows:
            if row.digest not in outputs:
                found.append((Seen.CHANGED if row.name in numbers else Seen.NEW, None))
            elif outputs[row.digest] is None:
                found.append((Seen.FAILED, None))
            else:
                found.append((Seen.SAME, outputs[row.digest]))
        return found

    def ask(self, names: Iterable[bytes]) -> dict[bytes, int]:
        """Those of these names that are known; they are not gone."""
        numbers: dict[bytes, int] = self._found("names", set(names))
        for number in numbers.values():
            self._asked[number >> 3] |= 1 << (number & 7)
        return numbers

    @property
    def gone(self) -> int:
        """How many names nobody asked for."""
        return self._names - int.from_bytes(self._asked).bit_count()

    def _insert(self, query: str, values: Iterable[Sequence[Any]]) -> None:
        with scratch_faults():
            self._table.execute("BEGIN")
            self._table.executemany(query, values)
            self._table.execute("COMMIT")

    def _found(self, table: str, keys: set[bytes]) -> dict[bytes, Any]:
        # In their order, so that neighbours are read together.
        ordered = sorted(keys)
        found: dict[bytes, Any] = {}
        with scratch_faults():
            for at in range(0, len(ordered), _ASKED):
                asked = ordered[at : at + _ASKED]
                marks = ",".join("?" * len(asked))
                found.update(self._table.execute(_QUERIES[table] + f"({marks})", asked))
        return found


_QUERIES = {
    "rows": "SELECT digest, output FROM rows WHERE digest IN ",
    "names": "SELECT name, number FROM names WHERE name IN ",
}
