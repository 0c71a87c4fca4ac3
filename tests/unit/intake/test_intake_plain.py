"""Rows from plain text, by line and by document."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.errors import JobFailure
from jobs.rows import BadRow, Row

Read = Callable[..., list[Row | BadRow]]


def codes(rows: list[Row | BadRow]) -> list[str]:
    return [row.failure.code if isinstance(row, BadRow) else row.text for row in rows]


def test_each_line_that_is_not_blank_is_a_row(read: Read) -> None:
    data = '\ufeff one\r\n\n \u3000\t\ntwo\u2028still two\rtoo\n"three",3'.encode()
    rows = read(data, "text")
    assert rows == [Row(0, " one"), Row(1, "two\u2028still two\rtoo"), Row(2, '"three",3')]


def test_bad_lines_are_bad_rows(read: Read) -> None:
    rows = read(b"a\n\xff\nb\0\n" + b"x" * 17 + b"\n" + b"y" * 16, "text", max_row_bytes=16)
    assert codes(rows) == ["a", "invalid_utf8", "nul_character", "row_too_large", "y" * 16]
    assert [(row.index, row.line) for row in rows if isinstance(row, BadRow)] == [
        (1, 2), (2, 3), (3, 4),
    ]  # fmt: skip


def test_a_document_is_one_row_with_its_sources_name(read: Read) -> None:
    data = "\ufeffTitle\r\n\r\nBody\n".encode()
    assert read(data, "documents") == [Row(0, "Title\r\n\r\nBody\n", "in")]


@pytest.mark.parametrize("form", ["text", "documents"])
def test_an_empty_source_has_no_rows(read: Read, form: str) -> None:
    assert read(b"", form) == []
    assert read(b"\xef\xbb\xbf", form) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b" \n\n", "empty_text"),
        (b"a\xffb", "invalid_utf8"),
        (b"a\0b", "nul_character"),
        (b"x" * 17, "row_too_large"),
        (b"x" * 300_000, "row_too_large"),
        ("text".encode("utf-16"), "invalid_utf8"),
    ],
)
def test_a_bad_document_is_one_bad_row(read: Read, data: bytes, code: str) -> None:
    (row,) = read(data, "documents", max_row_bytes=16)
    assert isinstance(row, BadRow)
    assert (row.index, row.line, row.failure.code) == (0, 1, code)
    if code == "row_too_large":
        assert f"has {len(data)} bytes" in row.failure.message


def test_lines_in_another_encoding_fail_the_job(read: Read) -> None:
    with pytest.raises(JobFailure, match="UTF-16"):
        read("text".encode("utf-16"), "text")
