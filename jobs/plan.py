"""How a job's input is cut into shards: fixed once, so that planning again gives the same shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from jobs.spec import InputFormat

#: Bytes of text that one shard holds when no speed is known yet: a few seconds on a slow CPU.
DEFAULT_SHARD_BYTES = 32 << 10
#: What shards grow to then: a quick kind would drown in small ones.
GROWN_SHARD_BYTES = 512 << 10
#: Shards of a size before the size doubles: many while no speed is known; else one, so that work begins at once.
CAREFUL_SHARDS, SURE_SHARDS = 8, 1
MIN_SHARD_BYTES = 4 << 10
#: Bytes that a shard of carried rows may hold, where rows to compute fill shards with less.
CARRIED_SHARD_BYTES = 8 << 20
#: Bytes and rows of a piece of a training's data, which is only ever read whole.
DATA_PIECE_BYTES, DATA_PIECE_ROWS = 8 << 20, 50_000


@pydantic_dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One object that rows are read from, pinned by its ETag. A model would take three times the memory."""

    bucket: str
    key: str
    name: str  #: what error rows call it: the uploaded file's name, or the URI
    etag: str
    size: int  #: bytes, as stored
    format: InputFormat
    compression: str | None = None  #: ``gzip``, ``zstd`` or None


class Skipped(BaseModel):
    """Objects below a prefix or glob that no rows are read from, for nobody can tell their format."""

    model_config = ConfigDict(frozen=True)

    count: int
    names: list[str]  #: the first few

    def warning(self) -> dict[str, Any]:
        """As a job tells it."""
        shown = ", ".join(self.names) + (", …" if self.count > len(self.names) else "")
        message = (
            f"{self.count} objects were left out, whose names do not tell a format: {shown}; "
            "set input.format to read all objects as one format"
        )
        return {"code": "skipped_objects", "message": message, "count": self.count}


class CutRule(BaseModel):
    """When a shard is full. A pure function of the rows: no clock, no speed measured meanwhile."""

    model_config = ConfigDict(frozen=True)

    max_rows: int
    max_bytes: int  #: of shard lines, uncompressed; carried rows count little
    #: The first shards hold so many bytes, and every few shards twice as many, up to ``max_bytes``; None: all the same.
    first_bytes: int | None = None
    growth_shards: int = SURE_SHARDS  #: shards of a size before the size doubles
    #: Most bytes of a shard whatever its rows count; None in plans of before there were carried rows.
    most_bytes: int | None = None

    def bytes_of(self, number: int) -> int:
        """Most bytes of the shard with this number, from 0."""
        if self.first_bytes is None:
            return self.max_bytes
        doublings = min(number // self.growth_shards, 32)
        return min(self.first_bytes << doublings, self.max_bytes)


class CarryPlan(BaseModel):
    """What an incremental job takes over, fixed with its plan."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str  #: of all that a row's output follows from beside the row, in hex
    content: str | None  #: what the model is known by; None where nothing tells
    base: str | None = None  #: names the index of the run before; None: there is none
    base_job: str | None = None  #: whose index it is
    base_run: str | None = None
    takes: bool = False  #: whether outputs are taken from it, or rows only compared


class Plan(BaseModel):
    """``plan.json``."""

    model_config = ConfigDict(frozen=True)

    #: Empty for inline rows, which lie in ``job.json``, and where they are listed elsewhere.
    sources: list[Source]
    listed: str | None = None  #: names the object that lists them, where they are many
    cut: CutRule
    model: str | None = (
        None  #: the model's reference with its revision pinned; None for kinds without one
    )
    #: What a training reads beside its input, by :meth:`jobs.training.TrainingKind.files`.
    files: dict[str, list[Source]] = {}
    #: Of an incremental job: from where outputs are taken over.
    carry: CarryPlan | None = None
    skipped: Skipped | None = None


@dataclass(frozen=True, kw_only=True)
class ShardLimits:
    """Upper bounds from the settings and the moment of planning."""

    max_rows: int
    max_bytes: int
    seconds: float  #: device time that a shard should take
    workers: int  #: live workers, at least 1


def cut_rule(
    limits: ShardLimits,
    *,
    total_rows: int | None,
    total_bytes: int | None,
    bytes_per_second: float | None,
) -> CutRule:
    """Choose the size of shards.

    About ``limits.seconds`` of work where the speed of this model is known; where it is not, small ones that grow; and
    never more than leaves two shards for each worker.

    Args:
        total_rows: rows of the input, where they are known beforehand.
        total_bytes: bytes of the input, where known; for compressed input what is stored, which only makes
            shards smaller.
        bytes_per_second: shard bytes that one device worked through per second, measured on earlier jobs of the same
            kind and model.
    """
    max_bytes = GROWN_SHARD_BYTES
    if bytes_per_second is not None:
        max_bytes = int(bytes_per_second * limits.seconds)
    share = 2 * max(1, limits.workers)
    if total_bytes is not None:
        max_bytes = min(max_bytes, -(-total_bytes // share))
    max_bytes = min(max(max_bytes, MIN_SHARD_BYTES), limits.max_bytes)
    max_rows = limits.max_rows
    if total_rows is not None:
        max_rows = min(max_rows, max(1, -(-total_rows // share)))
    return CutRule(
        max_rows=max_rows,
        max_bytes=max_bytes,
        first_bytes=min(DEFAULT_SHARD_BYTES, max_bytes),
        growth_shards=CAREFUL_SHARDS if bytes_per_second is None else SURE_SHARDS,
        most_bytes=min(limits.max_bytes, max(max_bytes, CARRIED_SHARD_BYTES)),
    )
