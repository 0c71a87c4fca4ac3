"""What the planner of an incremental job does with each row: the output of the run before travels with it, if there is
one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jobs.corpora import Corpus, RowMarks, Seen, name_of
from jobs.kinds import Kind
from jobs.plan import CarryPlan
from jobs.rows import BadRow, Row, encode_carried_row, encode_shard_row
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
        held: list[Row | BadRow] = []
        size = 0
        for row in rows:
            held.append(row)
            size += _size(row)
            if len(held) >= _ROWS or size >= _CHARACTERS:
                yield from self._lines(held)
                held, size = [], 0
        yield from self._lines(held)

    def _lines(self, rows: list[Row | BadRow]) -> Iterator[tuple[int, bytes]]:
        marks = {row.index: self._marks.of(row) for row in rows if isinstance(row, Row)}
        found = dict(zip(marks, self._lookup.find(list(marks.values())), strict=True))
        named = [one.custom_id for one in rows if isinstance(one, BadRow)]
        self._lookup.ask(name_of(one) for one in named if one is not None)
        for row in rows:
            if isinstance(row, BadRow):
                yield row.index, encode_shard_row(row)
                continue
            seen, made = found[row.index]
            self._seen[seen] += 1
            self._good += 1
            if self._plan.takes and made:
                self._carried += 1
                line = encode_carried_row(row, made, marks[row.index], self._keep)
            else:
                line = encode_shard_row(row, marks[row.index])
            yield row.index, line

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


def _size(row: Row | BadRow) -> int:
    if isinstance(row, BadRow):
        return 0
    return len(row.text) + sum(len(str(value)) for value in row.fields.values())
