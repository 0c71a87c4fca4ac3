"""One JSON object, made into a row: what the fields must hold, and what is said when they do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from typing import Any

import orjson

from jobs.errors import shorten
from jobs.rows import BadRow, Row, RowFailure

#: Longest ``custom_id``, in characters.
MAX_CUSTOM_ID = 512

_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1  # what orjson reads and writes exactly
_FIELDS_SHOWN = 10
#: Levels of nesting that later steps add around a carried value. orjson writes at most 254 levels but reads 1,024.
_LEVELS_ADDED = 4


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What a job wants from each row."""

    text_field: str = "text"
    id_field: str = "custom_id"
    keep: frozenset[str] = frozenset()  #: further fields to keep in ``Row.fields``, where present
    max_row_bytes: int = 1 << 20
    #: ``keep`` in a fixed order: a set's own order differs between processes, and a shard's bytes may not.
    kept: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept", tuple(sorted(self.keep)))


def row_from_object(
    value: object, *, index: int, source: str, line: int, options: ReadOptions
) -> Row | BadRow:
    """A row from a JSON value as orjson or pydantic parsed it.

    Args:
        index: the row's position among all rows of the job.
        source: where it came from; ``items`` for inline rows.
        line: its first line there, or its position among the inline rows, from 1.
    """
    if not isinstance(value, dict):
        reason = f"expected a JSON object, found {_json_type(value)}"
        return BadRow(index, RowFailure("not_an_object", reason), source, line)
    text, custom_id, failure = value.get(options.text_field), value.get(options.id_field), None
    if custom_id is not None:
        custom_id, failure = custom_id_of(custom_id, options.id_field)
    if isinstance(text, str):
        failure = text_failure(text, options) or failure
        fields: dict[str, Any] = {}
        if options.kept:
            fields = {name: value[name] for name in options.kept if name in value}
            failure = failure or _fields_failure(fields)
        if failure is None:
            return Row(index, text, custom_id, fields, source, line)
    elif options.text_field in value:
        reason = f"field {quoted(options.text_field)}: expected a string, found {_json_type(text)}"
        failure = RowFailure("invalid_text", reason)
    else:
        found = f"has {shown_names(value)}" if value else "is empty"
        reason = f"no field {quoted(options.text_field)}; the row {found}"
        failure = RowFailure("missing_text", reason)
    return BadRow(index, failure, source, line, custom_id)


def custom_id_of(value: object, name: str) -> tuple[str | None, RowFailure | None]:
    """A row's own id from the field ``name``, or why it cannot be one."""
    if value is None:
        return None, None
    if isinstance(value, str):
        if len(value) <= MAX_CUSTOM_ID and "\0" not in value:
            return value, None
        if len(value) > MAX_CUSTOM_ID:
            found = f"at most {MAX_CUSTOM_ID} characters are allowed, found {len(value)}"
            return None, RowFailure("invalid_custom_id", f"field {quoted(name)}: {found}")
        return None, _nul_failure(name, value)
    if _is_integer(value) and not isinstance(value, bool):
        return str(value), None
    expected = "expected a string or an integer of at most 64 bits"
    reason = f"field {quoted(name)}: {expected}, found {_json_type(value)}"
    return None, RowFailure("invalid_custom_id", reason)


def text_failure(text: str, options: ReadOptions) -> RowFailure | None:
    """Why this text cannot be worked on, or None."""
    if not text or text.isspace():
        return RowFailure("empty_text", f"field {quoted(options.text_field)} is empty")
    if "\0" in text:
        return _nul_failure(options.text_field, text)
    # A character takes at most four bytes, so that most texts need not be measured.
    if len(text) * 4 > options.max_row_bytes:
        size = len(text.encode())
        if size > options.max_row_bytes:
            return too_large(size, options.max_row_bytes)
    return None


def too_large(size: int, limit: int, more: str = "") -> RowFailure:
    """The failure of a row of ``size`` bytes."""
    return RowFailure(
        "row_too_large", f"the row has {size} bytes, at most {limit} are allowed{more}"
    )


def not_utf8(error: UnicodeDecodeError, where: str) -> RowFailure:
    """The failure of bytes that are not UTF-8; ``where`` says what the offset counts from."""
    byte = error.object[error.start]
    reason = f"not valid UTF-8: byte 0x{byte:02x} at offset {error.start} of {where}"
    return RowFailure("invalid_utf8", reason)


def shown_names(names: Iterable[str]) -> str:
    """The first few of some names, shortened, for people."""
    taken = [quoted(name) for name in islice(names, _FIELDS_SHOWN + 1)]
    return ", ".join(taken[:_FIELDS_SHOWN]) + (", …" if len(taken) > _FIELDS_SHOWN else "")


def quoted(name: str) -> str:
    """A name in quotes, shortened, on one line."""
    return f"'{shorten(name, 60)}'"


def _nul_failure(name: str, value: str) -> RowFailure:
    reason = f"field {quoted(name)}: NUL character at position {value.index(chr(0))}"
    return RowFailure("nul_character", reason)


def _fields_failure(fields: dict[str, Any]) -> RowFailure | None:
    """Why a carried value could not be written out again, or None."""
    for name, value in fields.items():
        if value is None or isinstance(value, str | float) or _is_integer(value):
            continue
        try:
            orjson.dumps(reduce(lambda inner, _: [inner], range(_LEVELS_ADDED), value))
        except orjson.JSONEncodeError as error:
            return RowFailure(
                "invalid_field", f"field {quoted(name)} cannot be carried along: {error}"
            )
    return None


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and _MIN_INTEGER <= value <= _MAX_INTEGER


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
