"""The data of a training: a job's rows kept beside it in pieces, and brought to a worker's disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from jobs.errors import JobFailure
from jobs.names import JobNames
from jobs.plan import DATA_PIECE_BYTES, DATA_PIECE_ROWS, CutRule, Source
from jobs.ranges import RowRange
from jobs.rows import BadRow, Row, encode_shard_row
from jobs.spec import InputSpec, JobSpec
from jobs.training import TrainingKind
from storage.objects import ObjectStore
from storage.parts import encode_shard, shard_text
from storage.submission import object_or_none
from workers.cutting import cut
from workers.sources import pin_sources

#: How data is cut: never by speed, for nobody computes a piece alone.
DATA_RULE = CutRule(max_rows=DATA_PIECE_ROWS, max_bytes=DATA_PIECE_BYTES)

#: The one shard of a training.
WHOLE = RowRange(0, 1)


@dataclass
class Kept:
    """What is kept of one source."""

    rows: int = 0
    bad: int = 0
    pieces: list[str] = field(default_factory=list)  #: row ranges by name, in order


def training_shard() -> bytes:
    """The shard of a training: one row, which stands for the training as a whole."""
    return encode_shard([encode_shard_row(Row(0, ""))])


def pin_files(
    store: ObjectStore, tenant: str, spec: InputSpec, kind: TrainingKind, params: object
) -> dict[str, list[Source]]:
    """The uploaded files that a training reads beside its input, as they are now.

    Raises:
        JobFailure: ``input_missing`` or ``input_format``; it names the parameter.
    """
    found = {}
    for name, file_id in kind.files(params).items():
        try:
            found[name] = pin_sources(store, tenant, file_spec(spec, file_id)).sources
        except JobFailure as failure:
            raise JobFailure(failure.failure_code, failure.detail, field=f"params.{name}") from None
    return found


def file_spec(spec: InputSpec, file_id: str) -> InputSpec:
    """How a file beside the input is read: with the same columns, its format by its own name.

    Beside the results of a job its columns have their usual names: where those lie in a result says nothing of a file.
    """
    if spec.job is not None:
        return InputSpec(file=file_id)
    return InputSpec(
        file=file_id, text_field=spec.text_field, id_field=spec.id_field, carry=spec.carry
    )


def check_bad_rows(spec: JobSpec, kept: Mapping[str, Kept]) -> None:
    """Fail a training of whose rows more are bad than ``max_errors`` allows.

    Raises:
        JobFailure: ``too_many_errors``.
    """
    bad = sum(one.bad for one in kept.values())
    limit = spec.max_error_rows
    if spec.max_error_share is not None:
        # As the ledger judges other jobs: the half of a millionth undoes the rounding of 0.29 * 100 = 28.999….
        limit = int(spec.max_error_share * sum(one.rows for one in kept.values()) + 5e-7)
    if limit is not None and bad > limit:
        reason = f"{bad} rows are bad, more than max_errors allows"
        raise JobFailure("too_many_errors", reason, field="max_errors")


class DataFolder:
    """A training's rows in the store, under the job and not under one of its generations.

    A planner that died is repeated: the same rows give the same pieces.
    """

    def __init__(self, store: ObjectStore, names: JobNames) -> None:
        self._store = store
        self._names = names

    def record(self) -> dict[str, Kept] | None:
        """What is kept of each source; None while it is not all there."""
        data = object_or_none(self._store, self._names.data_record)
        return None if data is None else _decode(data)

    def keep(self, name: str, rows: Iterator[Row | BadRow], check: Callable[[], None]) -> Kept:
        """Keep the rows of one source.

        Args:
            name: of the source.
            rows: in order.
            check: called before each piece is put; raises where this planner no longer counts.
        """
        kept = Kept()

        def lines() -> Iterator[bytes]:
            for row in rows:
                kept.rows += 1
                kept.bad += isinstance(row, BadRow)
                yield encode_shard_row(row)

        for piece, block in cut(lines(), DATA_RULE):
            check()
            self._store.put(self._names.data_piece(name, piece), encode_shard([block]))
            kept.pieces.append(str(piece))
        return kept

    def complete(self, kept: Mapping[str, Kept]) -> None:
        """Say that all rows are kept."""
        record = {name: asdict(one) for name, one in kept.items()}
        self._store.put(self._names.data_record, orjson.dumps(record), "application/json")

    def fetch(self, target: Path, read: Callable[[str], bytes]) -> dict[str, Path]:
        """Bring all rows to a folder, one file of lines for each source.

        Args:
            target: the folder; it is made.
            read: gives an object of the store by its name.

        Raises:
            ObjectMissing: they are not all kept, or something of them is gone.
            DamagedPart: a piece is not what was written.
            OSError: the disk takes no more.
        """
        target.mkdir(parents=True)
        files = {}
        for name, kept in _decode(read(self._names.data_record)).items():
            files[name] = target / f"{name}.jsonl"
            with files[name].open("wb") as file:
                for piece in kept.pieces:
                    data = read(self._names.data_piece(name, RowRange.parse(piece)))
                    file.write(shard_text(data))
        return files


def _decode(data: bytes) -> dict[str, Kept]:
    return {name: Kept(**kept) for name, kept in orjson.loads(data).items()}
