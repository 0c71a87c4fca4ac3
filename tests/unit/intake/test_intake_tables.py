"""Rows from CSV and TSV: headers, ragged records, and recovery from broken quoting."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.errors import JobFailure
from jobs.intake.records import RecordReader
from jobs.rows import BadRow, Row

Read = Callable[..., list[Row | BadRow]]

cells = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from('",\t\r\n'),
    max_size=12,
)
texts = cells.filter(str.strip)


def brief(rows: list[Row | BadRow]) -> list[tuple[str, str | None] | tuple[str, int, str | None]]:
    """Good rows as (text, id); bad ones as (code, line, id)."""
    return [
        (row.text, row.custom_id)
        if isinstance(row, Row)
        else (row.failure.code, row.line, row.custom_id)
        for row in rows
    ]


@given(
    st.lists(st.tuples(cells, texts, cells), max_size=6),
    st.sampled_from(["csv", "tsv"]),
    st.builds(
        lambda all_quoted, end: {
            "quoting": csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL,
            "lineterminator": end,
        },
        st.booleans(),
        st.sampled_from(["\n", "\r\n"]),
    ),
    st.booleans(),
)
def test_round_trip_of_what_the_standard_library_writes(
    read: Read,
    records: list[tuple[str, str, str]],
    form: str,
    dialect: dict[str, Any],
    mark: bool,
) -> None:
    if dialect == {"quoting": csv.QUOTE_MINIMAL, "lineterminator": "\n"}:
        # It then leaves carriage returns unquoted, where they read as part of a line end.
        records = [
            (a.replace("\r", ""), b.replace("\r", "."), c.replace("\r", "")) for a, b, c in records
        ]
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter="," if form == "csv" else "\t", **dialect)
    writer.writerow(["custom_id", "text", "more"])
    writer.writerows(records)
    expected = [
        Row(index, text, custom_id or None, {"more": more})
        for index, (custom_id, text, more) in enumerate(records)
    ]
    data = file.getvalue().encode("utf-8-sig" if mark else "utf-8")
    without_last_end = data.removesuffix(dialect["lineterminator"].encode())
    keep = frozenset({"more", "missing"})
    assert read(data, form, keep=keep) == expected
    assert read(without_last_end, form, keep=keep) == expected


def test_a_record_is_named_by_its_first_line(read: Read) -> None:
    data = b'\n\ntext,custom_id\n"a\n\nb",1\n\r\n\n"",2\n"\n\n",3\n'
    assert brief(read(data, "csv")) == [
        ("a\n\nb", "1"),
        ("empty_text", 9, "2"),
        ("empty_text", 10, "3"),
    ]


def test_quotes_inside_a_cell_are_text(read: Read) -> None:
    assert brief(read(b'text,custom_id\n5" disk,7\nsay "hi",8\n', "csv")) == [
        ('5" disk', "7"), ('say "hi"', "8"),
    ]  # fmt: skip


def test_a_short_record_lacks_its_last_cells(read: Read) -> None:
    data = b"a,text,custom_id,b\n1,x\n2\n3,y,id\n"
    rows = read(data, "csv", keep=frozenset({"a", "b"}))
    assert rows[0] == Row(0, "x", None, {"a": "1"})
    assert brief(rows)[1] == ("missing_text", 3, None)
    assert rows[2] == Row(2, "y", "id", {"a": "3"})


def test_what_is_wrong_with_a_record(read: Read) -> None:
    data = (
        b"text,custom_id,z\na,1,b,c\n\xff,2\nok,\xff\nx\0,3\n,4\na," + b"9" * 513 + b"\nok,5,\xff"
    )
    rows = read(data, "csv")
    assert brief(rows) == [
        ("invalid_csv", 2, "1"),
        ("invalid_utf8", 3, "2"),
        ("invalid_utf8", 4, None),
        ("nul_character", 5, "3"),
        ("empty_text", 6, "4"),
        ("invalid_custom_id", 7, None),
        ("ok", "5"),
    ]
    messages = [row.failure.message for row in rows if isinstance(row, BadRow)]
    assert "more columns than the header, which has 3" in messages[0]
    assert "byte 0xff at offset 0 of column 'text'" in messages[1]


@pytest.mark.parametrize(
    ("header", "code", "says"),
    [
        (b"id,body\n", "missing_text_field", "no column 'text'; the header names 'id', 'body'"),
        (b"Text\n", "missing_text_field", "'Text'"),
        (b"text;custom_id\n", "missing_text_field", "'text;custom_id'"),
        (b"text, text \n", "input_header", "'text' is there twice"),
        (b"text,\xff\n", "input_header", "not valid UTF-8"),
        (b'text,"a"b\n', "input_header", "closing quote"),
        (b"text," + b"x" * 100, "input_header", "at most 64"),
        (b'text,"' + b"x\n" * 100, "input_header", "never closed"),
    ],
)
def test_without_a_header_the_job_fails(read: Read, header: bytes, code: str, says: str) -> None:
    with pytest.raises(JobFailure) as failure:
        read(header + b"a,b\n", "csv", max_row_bytes=64)
    assert failure.value.failure_code == code
    assert says in failure.value.detail
    assert failure.value.field == ("input.text_field" if code == "missing_text_field" else None)


def test_header_names_may_be_spaced_and_empty(read: Read) -> None:
    assert brief(read(b',"custom_id", text ,\n0,1,a,\n', "csv")) == [("a", "1")]


@pytest.mark.parametrize("data", [b"", b"\n", b"text", b"text\n", b"\n\r\ntext\r\n\r\n"])
def test_no_rows(read: Read, data: bytes) -> None:
    assert read(data, "csv") == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize(
    ("size", "record"),
    [
        (64, b"x" * 60 + b",123"),
        (64, b'"' + b"x" * 58 + b'",123'),
        (64, b'123,"' + b"x" * 58 + b'"'),
        (64, b"x" * 63 + b","),
        (64, b'"' + b"x" * 61 + b'",'),
        (65, b"x" * 61 + b",123"),
        (65, b'"' + b"x" * 59 + b'",123'),
        (65, b'123,"' + b"x" * 59 + b'"'),
        (65, b"x" * 64 + b","),
        (65, b'"' + b"x" * 62 + b'",'),
        (400, b'"' + b"x\n" * 198 + b'",1'),
        (400, b'1,"' + b"x\n" * 198 + b'"'),
        (400, b'"","' + b'x""\n' * 98 + b'end"'),
    ],
)
def test_the_limit_is_on_the_record_without_its_end(
    read: Read, size: int, record: bytes, end: bytes
) -> None:
    assert len(record) == size
    data = b"text,custom_id\n" + record + end
    rows = read(data + b"last,7" if end else data, "csv", max_row_bytes=64)
    if end:
        assert brief(rows[1:]) == [("last", "7")]
    if size <= 64:
        assert isinstance(rows[0], Row)
    else:
        assert brief(rows)[0][:2] == ("row_too_large", 2)


def test_a_stray_quote_costs_one_record(read: Read) -> None:
    data = b'text,custom_id\na,1\n"b,2\nc,3\nd,4\n"e",5\nf,6\n'
    rows = read(data, "csv")
    assert brief(rows) == [
        ("a", "1"), ("invalid_csv", 3, None), ("c", "3"), ("d", "4"), ("e", "5"), ("f", "6"),
    ]  # fmt: skip
    assert isinstance(rows[1], BadRow)
    assert "closing quote in line 6, found 'e'" in rows[1].failure.message
    assert "reading went on in line 4" in rows[1].failure.message


def test_a_stray_quote_right_before_a_quoted_cell(read: Read) -> None:
    data = b'text,custom_id\n1,"b\n"x, y",3\nf,6\n'
    assert brief(read(data, "csv")) == [("invalid_csv", 2, None), ("x, y", "3"), ("f", "6")]


def test_a_stray_quote_before_the_end_of_the_input(read: Read) -> None:
    data = b'text,custom_id\n1,"b\nc,3\nd,4'
    rows = read(data, "csv")
    assert brief(rows) == [("invalid_csv", 2, None), ("c", "3"), ("d", "4")]
    assert isinstance(rows[0], BadRow)
    assert "the quote that opens column 2 in line 2 is never closed" in rows[0].failure.message


def test_a_stray_quote_in_a_file_without_other_quotes(read: Read) -> None:
    rows = read(b'text,custom_id\n"b,2\n' + b"c,3\n" * 500, "csv", max_row_bytes=64)
    assert brief(rows) == [("row_too_large", 2, None)] + [("c", "3")] * 500
    assert isinstance(rows[0], BadRow)
    assert "records seem to follow" in rows[0].failure.message


def test_lines_inside_a_broken_cell_are_not_taken_for_records(read: Read) -> None:
    data = b'text,custom_id\n"He said\nto me:\n"go" at last",1\nnext,2\n'
    rows = read(data, "csv")
    assert brief(rows) == [("invalid_csv", 2, None), ("next", "2")]
    assert isinstance(rows[0], BadRow)
    assert "must be doubled" in rows[0].failure.message


def test_a_large_cell_is_passed_over_whole(read: Read) -> None:
    cell = b'"' + b'Dear ""you"",\nit is late\n' * 50 + b'"'
    rows = read(b"text,custom_id\na,1\n" + cell + b",2\nc,3\n", "csv", max_row_bytes=64)
    assert brief(rows) == [("a", "1"), ("row_too_large", 3, None), ("c", "3")]
    assert isinstance(rows[1], BadRow)
    assert f"has {len(cell) + 2} bytes" in rows[1].failure.message
    assert "reading went on in line 104" in rows[1].failure.message


def test_an_open_quote_that_may_be_text_says_what_was_lost(read: Read) -> None:
    tail = b"no more quotes\n" * 100
    (row,) = read(b'text\n"open\n' + tail, "csv", max_row_bytes=64)
    assert isinstance(row, BadRow)
    assert (row.failure.code, row.line) == ("row_too_large", 2)
    lost = len(tail) + len('"open\n')
    assert f"never closed: the {lost} bytes up to the end were passed over" in row.failure.message


def test_an_id_read_before_the_fault_is_kept(read: Read) -> None:
    data = b'custom_id,text\n17,"a" b\n18,' + b"x" * 99 + b'\n"19",' + b"x" * 99
    assert brief(read(data, "csv", max_row_bytes=64)) == [
        ("invalid_csv", 2, "17"), ("row_too_large", 3, None), ("row_too_large", 4, "19"),
    ]  # fmt: skip


class CountingReader(RecordReader):
    """Counts the bytes that it looks at inside quoted cells."""

    scanned = 0

    def _skip_quoted(self, at: int) -> int:
        end = super()._skip_quoted(at)
        self.scanned += end - at
        return end


@given(
    st.lists(
        st.sampled_from(
            [b'a","\n', b'"\n', b'a,"\n', b'"a\n', b'""', b'"" "\n', b"a,b\n", b'"', b","]
        ),
        min_size=1,
        max_size=5,
    ).map(b"".join),
)
@example(b'a","\n')
@example(b'",","\n')
@example(b'""""\n,')
def test_no_input_is_read_over_and_over(unit: bytes) -> None:
    data = b"text,custom_id\n" + b'"' + unit * (4_000 // len(unit)) + b'"x\n'
    reader = CountingReader([data], delimiter=b",", limit=1000)
    reader.header()
    assert sum(1 for _ in reader.records()) > 0
    assert reader.scanned <= 3 * len(data)


def test_extra_cells_are_not_collected() -> None:
    reader = RecordReader(
        [b"a,b\n" + b",".join([b"1"] * 500) + b'\n"1"' + b',"1"' * 500],
        delimiter=b",",
        limit=10_000,
    )
    reader.header()
    assert [len(record.cells) for record in reader.records()] == [3, 3]
