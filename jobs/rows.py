"""Rows on their way through a job: as read, as handed to a kind, and as written out.

Lines are JSON by orjson with keys in a fixed order and no clock, worker or attempt in them, so that the
same row always gives the same bytes whoever computed it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

from orjson import OPT_APPEND_NEWLINE, Fragment, dumps, loads

Class = TypeVar("Class")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def _value(cls: type[Class]) -> type[Class]:
    """A dataclass that mypy holds to be frozen.

    It is not at run time, where each field of a frozen one is set through ``object.__setattr__``: a :class:`Row`
    then takes four times as long to make, and ten million of them are made several times over.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


@_value
class Usage:
    """What one row cost, in the model's own tokens."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens
        )


@_value
class Row:
    """One good row of a job's input."""

    index: (
        int  #: position among all rows of the input, bad ones included, from 0: the row's identity
    )
    text: str
    custom_id: str | None = None  #: the submitter's own name for the row; may repeat
    #: Further columns that the kind or the user asked for.
    fields: Mapping[str, Any] = field(default_factory=dict)
    source: str = field(default="", compare=False)  #: the object or file it came from
    line: int = field(default=0, compare=False)  #: its first line there, from 1


@dataclass(frozen=True, slots=True)
class ModelProduct:
    """A model that a kind made, to be published in the registry."""

    name: str  #: in the registry
    folder: Path  #: safetensors, configuration and tokenizer
    source: str  #: where it came from
    facts: Mapping[str, Any] = field(default_factory=dict)


@_value
class Success:
    """What a kind made of one row."""

    output: Mapping[str, Any]  #: JSON values only
    usage: Usage = Usage()
    product: ModelProduct | None = None  #: published by the worker; its version joins the output


@dataclass(frozen=True, slots=True)
class RowFailure:
    """Why one row has no output. Trying it again would fail the same way."""

    code: str  #: stable, such as ``missing_text``; listed in ``docs/errors.md``
    message: str


Outcome = Success | RowFailure


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that the planner rejected; it travels in its shard and ends in the job's errors."""

    index: int
    failure: RowFailure
    source: str  #: the object or file it came from
    line: int  #: its first line there, from 1
    custom_id: str | None = None


@dataclass(frozen=True, slots=True)
class CarriedRow:
    """A good row whose output is known from an earlier job; it travels in its shard and is computed no more."""

    row: Row  #: without what is not needed any more
    success: Success

    @property
    def index(self) -> int:
        return self.row.index


#: What a shard holds.
ShardRow = Row | BadRow | CarriedRow


@dataclass(frozen=True, slots=True)
class Marks:
    """What a row of an incremental job is known by: see :mod:`jobs.corpora`."""

    digest: bytes  #: of all that its output follows from
    name: bytes  #: of its custom_id, or else of its content


#: How the line of a carried row begins in a shard.
_CARRIED = b'{"carried":'

#: What the line of a carried row counts in a shard, in bytes of work.
CARRIED_BYTES = 16


def encode_shard_row(row: Row | BadRow, marks: Marks | None = None) -> bytes:
    """A row as one line of a shard; with its marks, where it is one of an incremental job."""
    if isinstance(row, BadRow):
        return error_line(row, row.failure)
    entry: dict[str, Any] = {
        "custom_id": row.custom_id,
        "index": row.index,
        "text": row.text,
        "source": row.source,
        "line": row.line,
    }
    if row.fields:
        entry["fields"] = dict(row.fields)
    if marks is not None:
        entry["digest"], entry["name"] = marks.digest.hex(), marks.name.hex()
    return dumps(entry, option=OPT_APPEND_NEWLINE)


def encode_carried_row(row: Row, made: bytes, marks: Marks, keep: Collection[str] | None) -> bytes:
    """A row with its output as one line of a shard.

    Args:
        row: as it was read.
        made: ``{"output", "usage"}`` of it, in JSON.
        marks: of the row.
        keep: fields that are still needed; None: all of the row is.
    """
    entry: dict[str, Any] = {
        "carried": Fragment(made),
        "custom_id": row.custom_id,
        "index": row.index,
        "source": row.source,
        "line": row.line,
        "digest": marks.digest.hex(),
        "name": marks.name.hex(),
    }
    if keep is None:
        entry["text"], entry["fields"] = row.text, dict(row.fields)
    elif keep:
        entry["fields"] = {name: row.fields[name] for name in keep if name in row.fields}
    return dumps(entry, option=OPT_APPEND_NEWLINE)


def work_bytes(line: bytes) -> int:
    """What the line of a shard stands for, in bytes of work."""
    return CARRIED_BYTES if line.startswith(_CARRIED) else len(line)


def decode_shard_row(line: bytes) -> Row | BadRow:
    """The inverse of :func:`encode_shard_row`."""
    return _decoded(loads(line))


def decode_shard_line(line: bytes) -> ShardRow:
    """What any line of a shard holds, that of a carried row too."""
    entry = loads(line)
    made = entry.get("carried")
    if made is None:
        return _decoded(entry)
    row = Row(
        entry["index"],
        entry.get("text", ""),
        entry["custom_id"],
        entry.get("fields", {}),
        entry["source"],
        entry["line"],
    )
    return CarriedRow(row, Success(made["output"], Usage(**made["usage"])))


def _decoded(entry: dict[str, Any]) -> Row | BadRow:
    if "error" in entry:
        error = entry["error"]
        failure = RowFailure(error["code"], error["message"])
        return BadRow(entry["index"], failure, entry["source"], entry["line"], entry["custom_id"])
    return Row(
        entry["index"],
        entry["text"],
        entry["custom_id"],
        entry.get("fields", {}),
        entry["source"],
        entry["line"],
    )


def result_line(row: Row, success: Success, carry: tuple[str, ...] = ()) -> bytes:
    """A line of the results: ``{"custom_id", "index", "output", "usage"}`` and, on request, ``fields``."""
    usage = success.usage
    entry: dict[str, Any] = {
        "custom_id": row.custom_id,
        "index": row.index,
        "output": success.output,
        "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens},
    }
    if carry:
        entry["fields"] = {name: row.fields.get(name) for name in carry}
    return dumps(entry, option=OPT_APPEND_NEWLINE)


def error_line(row: Row | BadRow, failure: RowFailure) -> bytes:
    """A line of the errors: ``{"custom_id", "index", "error", "source", "line"}``."""
    entry: dict[str, Any] = {
        "custom_id": row.custom_id,
        "index": row.index,
        "error": {"code": failure.code, "message": failure.message},
        "source": row.source,
        "line": row.line,
    }
    return dumps(entry, option=OPT_APPEND_NEWLINE)
