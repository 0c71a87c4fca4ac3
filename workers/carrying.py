"""What the planner of an incremental job does with each row: the output of the run before travels with it, if there is
one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jobs.corpora import Corpus, RowMarks, Seen, name_of
from jobs.kinds import Kind
from jobs.plan import CarryPlan
from jobs.rows import BadRow, Marks, Row, encode_carried_row, encode_shard_row
from jobs.spec import InputSpec
from storage.corpus import Lookup

#: Rows, and characters of them, that are looked up together.
_ROWS, _CHARACTERS = 1_000, 4 << 20


class Carrying:
    """Turns rows into lines of shards, and counts what became of them.

    Args:
        kind: of the job.
        params: of the job.
        spec: its input.
        plan: what it takes over.
        lookup: the index that this plan names.
    """

    def __init__(
        self, kind: Kind, params: Any, spec: InputSpec, plan: CarryPlan, lookup: Lookup
    ) -> None:
        self._marks = RowMarks(plan.fingerprint, kind.fields_of(params))
        # What measures results reads whole rows.
        self._keep = None if kind.evaluator(params) is not None else tuple(spec.carry)
        self._plan = plan
        self._lookup = lookup
        self._seen = dict.fromkeys(Seen, 0)
        self._good = 0
        self._carried = 0

    def lines(self, rows: Iterable[Row | BadRow]) -> Iterator[tuple[int, bytes]]:
        """Each row's index and its line.

        Raises:
            ScratchFull: the local disk is full or broken.
        """
        for held in _groups(rows):
            for row, marks, made in self._known(held):
                yield row.index, self._line(row, marks, made)

    def left(self, rows: Iterable[Row | BadRow]) -> Iterator[Row]:
        """The good rows that have to be computed.

        Raises:
            ScratchFull: the local disk is full or broken.
        """
        for held in _groups(rows):
            for row, _, made in self._known(held):
                if isinstance(row, Row) and made is None:
                    yield row

    def _known(
        self, rows: list[Row | BadRow]
    ) -> Iterator[tuple[Row | BadRow, Marks | None, bytes | None]]:
        """Each row with its marks, and with the output that it takes over."""
        marks = {row.index: self._marks.of(row) for row in rows if isinstance(row, Row)}
        found = dict(zip(marks, self._lookup.find(list(marks.values())), strict=True))
        named = [one.custom_id for one in rows if isinstance(one, BadRow)]
        self._lookup.ask(name_of(one) for one in named if one is not None)
        for row in rows:
            if isinstance(row, BadRow):
                yield row, None, None
                continue
            seen, made = found[row.index]
            self._seen[seen] += 1
            self._good += 1
            taken = made if self._plan.takes and made else None
            self._carried += taken is not None
            yield row, marks[row.index], taken

    def _line(self, row: Row | BadRow, marks: Marks | None, made: bytes | None) -> bytes:
        if isinstance(row, BadRow) or marks is None:
            return encode_shard_row(row)
        if made is None:
            return encode_shard_row(row, marks)
        return encode_carried_row(row, made, marks, self._keep)

    def corpus(self) -> Corpus:
        """What became of all rows so far; how many fail is known in the end."""
        return Corpus(
            new=self._seen[Seen.NEW],
            changed=self._seen[Seen.CHANGED],
            retried=self._seen[Seen.FAILED],
            carried=self._carried,
            computed=self._good - self._carried,
            gone=self._lookup.gone,
            base=self._plan.base_job,
        )


def _groups(rows: Iterable[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    """Rows that are looked up together."""
    held: list[Row | BadRow] = []
    size = 0
    for row in rows:
        held.append(row)
        size += _size(row)
        if len(held) >= _ROWS or size >= _CHARACTERS:
            yield held
            held, size = [], 0
    yield held


def _size(row: Row | BadRow) -> int:
    if isinstance(row, BadRow):
        return 0
    return len(row.text) + sum(len(str(value)) for value in row.fields.values())
