"""Rows are read from disk when they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jobs.rows import BadRow, Row, RowFailure
from nlp.training.rows import RowFile, Rows
from tests.unit.nlp.training.runs import write_rows


def good(_row: Row) -> RowFailure | None:
    return None


def not_blank(row: Row) -> RowFailure | None:
    return None if row.text.strip() else RowFailure("empty_text", "blank")


def test_good_rows_by_number_and_bad_ones_counted(tmp_path: Path) -> None:
    rows: list[Row | BadRow] = [
        Row(0, "first", fields={"label": "ä"}, source="a", line=1),
        BadRow(1, RowFailure("invalid_json", "no JSON"), "a", 2),
        Row(2, "  ", source="a", line=3),
        Row(3, "line\nbreak \N{LINE SEPARATOR} in it", source="a", line=4),
    ]
    found = RowFile(write_rows(tmp_path / "rows", rows), not_blank)
    assert len(found) == 2
    assert [found.row(0), found.row(1)] == [rows[0], rows[3]]
    assert found.bad.codes == {"invalid_json": 1, "empty_text": 1}
    assert [one["line"] for one in found.bad.first] == [2, 3]


def test_rows_of_several_files_as_one_sequence(tmp_path: Path) -> None:
    files = [
        RowFile(
            write_rows(tmp_path / str(name), [Row(n, f"{name} {n}") for n in range(count)]), good
        )
        for name, count in enumerate([3, 0, 2])
    ]
    rows = Rows(files, np.array([4, 0, 2, 3]))
    assert [row.text for row in rows] == ["2 1", "0 0", "0 2", "2 0"]
    assert [row.text for row in rows[1:3]] == ["0 0", "0 2"]
    assert rows[-1].text == "2 0"


def test_an_empty_file_holds_no_rows(tmp_path: Path) -> None:
    (tmp_path / "none").touch()
    assert len(RowFile(tmp_path / "none", good)) == 0


def test_only_the_first_bad_rows_are_told_one_by_one(tmp_path: Path) -> None:
    bad: list[Row | BadRow] = [BadRow(n, RowFailure("x", "y"), "a", n + 1) for n in range(100)]
    found = RowFile(write_rows(tmp_path / "rows", bad), good)
    assert found.bad.codes["x"] == 100
    assert len(found.bad.first) == 5
