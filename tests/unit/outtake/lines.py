"""Rows as storage writes them, and ways to cut them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from jobs.rows import BadRow, Row, RowFailure, Success, Usage, error_line, result_line

#: Whatever a text may hold: all of Unicode that UTF-8 can say, but for NUL, which the way in refuses.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
) | st.sampled_from(
    [
        '"',
        '""',
        ",",
        "\n",
        "\r",
        "\r\n",
        " a ",
        "=1+1",
        "\ufeff",
        "שלום \u202egnp",
        "\x85\u2028",
        "''",
    ]
)

#: Whatever orjson writes as a whole number.
INTEGERS = st.integers(-(2**63), 2**64 - 1)

VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def result(
    index: int,
    output: Mapping[str, Any],
    custom_id: str | None = None,
    fields: Mapping[str, Any] | None = None,
) -> bytes:
    """A line of results."""
    row = Row(index, "text", custom_id, fields or {})
    return result_line(row, Success(output, Usage(3, 5)), tuple(fields or ()))


def failed(index: int, message: str, custom_id: str | None = None) -> bytes:
    """A line of errors."""
    return error_line(
        BadRow(index, RowFailure("invalid_json", message), "in put.jsonl", index + 1, custom_id),
        RowFailure("invalid_json", message),
    )


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """The same bytes in pieces."""
    return (data[at : at + size] for at in range(0, len(data), size))
