"""Formats by file name."""

from __future__ import annotations

import pytest

from jobs.intake import detect


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reviews.jsonl", ("jsonl", None)),
        ("reviews.ndjson", ("jsonl", None)),
        ("Reviews.CSV", ("csv", None)),
        ("a.tsv.gz", ("tsv", "gzip")),
        ("corpora/2026-11.01/lines.txt.GZ", ("text", "gzip")),
        ("notes.text", ("text", None)),
        ("s3://bucket/export.csv/part-0001", (None, None)),
        ("export.gz", (None, "gzip")),
        ("jsonl", (None, None)),
        ("gz", (None, None)),
        (".jsonl", ("jsonl", None)),
        ("table.parquet", ("parquet", None)),
        ("table.parquet.gz", ("parquet", "gzip")),
        ("rows.jsonl.zst", ("jsonl", "zstd")),
        ("export.ZST", (None, "zstd")),
        ("README.md", ("documents", None)),
        ("notes.markdown.gz", ("documents", "gzip")),
        ("index.HTM", ("html", None)),
        ("a/page.html.zst", ("html", "zstd")),
        ("page.xhtml", ("html", None)),
        ("latest.json", (None, None)),
        ("", (None, None)),
    ],
)
def test_detect(name: str, expected: tuple[str | None, str | None]) -> None:
    assert detect(name) == expected
