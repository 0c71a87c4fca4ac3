"""Which columns a table of results or errors has, and what a row puts into them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import orjson

#: What a column holds; ``json`` is any value, as JSON text.
ColumnType = Literal["string", "double", "int64", "boolean", "json"]

#: What a cell of a table may be; the text of a ``json`` column is a string.
Cell = str | int | float | bool | None

_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    type: ColumnType

    def fits(self, value: Any) -> bool:
        """Whether a JSON value can stand in this column unchanged."""
        if value is None:
            return True
        match self.type:
            case "string":
                return isinstance(value, str)
            case "boolean":
                return isinstance(value, bool)
            case "int64":
                return type(value) is int and value in _INT64
            case "double":
                # 2**53 + 1 is no double: such a number would be another one afterwards.
                return type(value) in (int, float) and float(value) == value
            case "json":
                return True

    def cell(self, value: Any) -> Cell:
        """A value that fits, as this column holds it."""
        if value is None:
            return None
        if self.type == "json":
            return _json(value)
        return float(value) if self.type == "double" else value


class Table(ABC):
    """Columns, and how to fill them."""

    columns: tuple[Column, ...]

    @abstractmethod
    def cells(self, row: Mapping[str, Any]) -> list[Cell]:
        """A parsed line's cells, one for each column. A column that the line says nothing about holds None."""


_BEFORE = (Column("index", "int64"), Column("custom_id", "string"))
_AFTER = (
    Column("output", "json"),
    Column("input_tokens", "int64"),
    Column("output_tokens", "int64"),
)
_CARRIED = Column("fields", "json")

#: Names that no column of an output may have.
RESERVED = frozenset(column.name for column in (*_BEFORE, *_AFTER, _CARRIED))


class ResultTable(Table):
    """Results: what the kind's outputs hold, each in a column of its own, between the row's own columns.

    Nothing of an output is lost or changed: a part without a column, or whose value does not fit into its column,
    stands in ``output`` as JSON text.
    """

    def __init__(self, output_columns: Mapping[str, ColumnType], *, carried: bool) -> None:
        """
        Args:
            output_columns: as the kind declares them; with none, ``output`` holds all of each output.
            carried: whether the job carries fields along: then there is a column ``fields``.
        """
        self._output = [Column(name, type_) for name, type_ in output_columns.items()]
        self._by_name = {column.name: column for column in self._output}
        self._carried = carried
        self.columns = (*_BEFORE, *self._output, *_AFTER, *((_CARRIED,) if carried else ()))

    def cells(self, row: Mapping[str, Any]) -> list[Cell]:
        output, usage = row["output"], row["usage"]
        placed = {
            name: value
            for name, value in output.items()
            if name in self._by_name and self._by_name[name].fits(value)
        }
        cells: list[Cell] = [row["index"], row["custom_id"]]
        cells += [column.cell(placed.get(column.name)) for column in self._output]
        if len(placed) == len(output) and self._output:
            cells.append(None)
        else:
            cells.append(_json({k: v for k, v in output.items() if k not in placed}))
        cells += [usage["input_tokens"], usage["output_tokens"]]
        if self._carried:
            cells.append(_json(row.get("fields") or {}))
        return cells


class ErrorTable(Table):
    """Errors: why each row failed, and where it stood in the input."""

    columns = (
        *_BEFORE,
        Column("code", "string"),
        Column("message", "string"),
        Column("source", "string"),
        Column("line", "int64"),
    )

    def cells(self, row: Mapping[str, Any]) -> list[Cell]:
        error = row["error"]
        return [
            row["index"],
            row["custom_id"],
            error["code"],
            error["message"],
            row["source"],
            row["line"],
        ]


def check_columns(columns: Mapping[str, str]) -> None:
    """Whether a kind may declare these columns.

    Raises:
        ValueError: a name is taken or empty, or a type is unknown.
    """
    for name, type_ in columns.items():
        if not name or name in RESERVED:
            taken = ", ".join(sorted(RESERVED))
            raise ValueError(f"output column {name!r}: expected a name other than {taken}")
        if type_ not in get_args(ColumnType):
            known = ", ".join(get_args(ColumnType))
            raise ValueError(f"output column {name!r}: expected one of {known}, found {type_!r}")


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
