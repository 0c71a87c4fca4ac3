"""Every way to hand rows to a job, and that each row comes out once and in order."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import httpx
import pyarrow as pa
import pytest
import zstandard
from minio import Minio
from pyarrow import parquet as pq

from tests.integration.stack.dialogue import failure, jsonl, outcome, packed, put, upload
from textmill import Textmill

TEXTS = ["first", "second, with a comma", "third \N{SNOWMAN}"]

FILES = {
    "rows.jsonl": jsonl({"custom_id": f"r{n}", "text": text} for n, text in enumerate(TEXTS)),
    "rows.csv": 'custom_id,text\r\nr0,first\r\nr1,"second, with a comma"\r\nr2,third \u2603\r\n'.encode(),
    "rows.tsv": "custom_id\ttext\nr0\tfirst\nr1\tsecond, with a comma\nr2\tthird \u2603\n".encode(),
    "rows.txt": "\n".join(TEXTS).encode(),
}


def texts(rows: list[dict[str, Any]]) -> list[str]:
    return [row["output"]["text"] for row in rows]


def test_inline_rows_with_ids_and_carried_fields(tm: Textmill) -> None:
    items: list[Any] = [
        {"ticket": "a-1", "body": "Great value.", "country": "AT", "n": {"deep": [1, None]}},
        {"ticket": "a-1", "body": "refuse this"},
        {"ticket": 7, "body": "Sehr gut!", "country": None},
    ]
    job = tm.jobs.create(
        kind="echo",
        input=items,
        text_field="body",
        id_field="ticket",
        carry=["country", "n"],
        params={"upper": True, "fail_on": "refuse"},
    )
    results, errors = outcome(job)
    assert results == [
        {
            "custom_id": "a-1",
            "index": 0,
            "output": {"text": "GREAT VALUE."},
            "usage": {"input_tokens": 2, "output_tokens": 0},
            "fields": {"country": "AT", "n": {"deep": [1, None]}},
        },
        {
            "custom_id": "7",
            "index": 2,
            "output": {"text": "SEHR GUT!"},
            "usage": {"input_tokens": 2, "output_tokens": 0},
            "fields": {"country": None, "n": None},
        },
    ]
    refused = {"code": "echo_refused", "message": "the text holds 'refuse'"}
    place = {"source": "items", "line": 2}
    assert errors == [{"custom_id": "a-1", "index": 1, "error": refused, **place}]
    assert [one["code"] for one in job.refresh().raw["warnings"]] == ["repeated_custom_id"]


def zstd(data: bytes) -> bytes:
    """Two frames."""
    packer = zstandard.ZstdCompressor(write_checksum=True)
    return packer.compress(data[:30]) + packer.compress(data[30:])


def parquet(columns: dict[str, list[Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, row_group_size=2)
    return out.getvalue()


@pytest.mark.parametrize("name", FILES)
def test_uploaded_files_plain_and_compressed(tm: Textmill, name: str) -> None:
    files = [
        upload(tm, FILES[name], name),
        upload(tm, packed(FILES[name]), name + ".gz"),
        upload(tm, zstd(FILES[name]), name + ".zst"),
    ]
    for job in [tm.jobs.create(kind="echo", input=file) for file in files]:
        results, errors = outcome(job)
        assert texts(results) == TEXTS
        assert errors == []
        ids = [row["custom_id"] for row in results]
        assert ids == ([None] * 3 if name == "rows.txt" else ["r0", "r1", "r2"])


def test_a_document_is_one_row(tm: Textmill) -> None:
    text = "Two lines\nof one text.\n"
    files = [upload(tm, text.encode(), "a.md"), upload(tm, packed(text.encode()), "a.md.gz")]
    jobs = [tm.jobs.create(kind="echo", input=file, format="documents") for file in files]
    assert [texts(outcome(job)[0]) for job in jobs] == [[text], [text]]


def test_a_parquet_file(tm: Textmill, s3: Minio, folder: str) -> None:
    data = parquet(
        {
            "ticket": [1, 2, None, 4],
            "body": ["first", None, "third \N{SNOWMAN}", " "],
            "tags": [["a", "b"], [], None, []],
            "price": [Decimal("1.50")] * 4,
        }
    )
    uri = put(s3, folder + "rows.parquet", data)
    for source, file in (("rows.parquet", upload(tm, data, "rows.parquet")), (uri, uri)):
        job = tm.jobs.create(
            kind="echo",
            input=file,
            text_field="body",
            id_field="ticket",
            carry=["tags", "price", "missing"],
        )
        results, errors = outcome(job)
        assert [(row["custom_id"], row["output"]["text"], row["fields"]) for row in results] == [
            ("1", "first", {"tags": ["a", "b"], "price": "1.50", "missing": None}),
            (None, "third \N{SNOWMAN}", {"tags": None, "price": "1.50", "missing": None}),
        ]
        assert [
            (row["custom_id"], row["source"], row["line"], row["error"]["code"]) for row in errors
        ] == [("2", source, 2, "invalid_text"), ("4", source, 4, "empty_text")]


def test_a_parquet_file_of_many_rows(tm: Textmill, s3: Minio, folder: str) -> None:
    """More than one block of the store and many batches; and the format said, not told from the name."""
    texts_ = [f"{n} {hash(n * 7919) % 10**9} " * 10 for n in range(30_000)]
    data = parquet({"text": texts_, "custom_id": [f"r{n}" for n in range(30_000)]})
    uri = put(s3, folder + "rows.data", data)
    results, errors = outcome(tm.jobs.create(kind="echo", input=uri, format="parquet"))
    assert texts(results) == texts_
    assert [row["custom_id"] for row in results] == [f"r{n}" for n in range(30_000)]
    assert errors == []


def test_parquet_that_cannot_be_read(tm: Textmill, s3: Minio, folder: str) -> None:
    data = parquet({"text": ["a", "b"]})
    cases = {
        "packed.parquet.gz": (packed(data), "input_format", "as it is"),
        "packed.parquet.zst": (zstd(data), "input_format", "as it is"),
        "cut.parquet": (data[:-9], "input_corrupt", "cut short"),
        "text.parquet": (b"no Parquet", "input_corrupt", "does not begin with"),
        "named.jsonl": (data, "input_encoding", "is Parquet"),
        "columns.parquet": (parquet({"body": ["a"]}), "missing_text_field", "'body'"),
    }
    for name, (content, code, text) in cases.items():
        error = failure(tm.jobs.create(kind="echo", input=put(s3, folder + name, content)))
        assert error["code"] == code
        assert text in error["message"]


@pytest.mark.parametrize("size", [20, 100_000, 9_000_000])
def test_a_multipart_upload_gives_the_same_file_as_a_raw_one(http: httpx.Client, size: int) -> None:
    data = (b'{"text": "a line"}\n' * (size // 19 + 1))[:size]
    form = http.post("/v1/files", files={"file": ("rows.jsonl", data, "text/plain")})
    raw = http.post("/v1/files", params={"filename": "rows.jsonl"}, content=data)
    for response in (form, raw):
        assert response.status_code == 201, response.text
        assert response.headers["Location"] == f"/v1/files/{response.json()['id']}"
    same = ("filename", "bytes", "sha256", "object")
    assert [form.json()[name] for name in same] == [raw.json()[name] for name in same]
    assert http.get(f"{form.headers['Location']}/content").content == data


def test_an_object_by_its_uri(tm: Textmill, s3: Minio, folder: str) -> None:
    uris = []
    for name, data in FILES.items():
        uris += [put(s3, folder + name, data), put(s3, folder + name + ".gz", packed(data))]
    for job in [tm.jobs.create(kind="echo", input=uri) for uri in uris]:
        assert texts(outcome(job)[0]) == TEXTS


def test_a_prefix_and_a_glob_read_objects_in_the_order_of_their_names(
    tm: Textmill, s3: Minio, folder: str
) -> None:
    put(s3, f"{folder}2026-b.csv", b"text\nc\nd\n")
    put(s3, f"{folder}2026-a.jsonl", b'{"text": "a"}\n{"text": "b"}\n')
    put(s3, f"{folder}deeper/2027.txt.gz", packed(b"e\nf"))
    whole = tm.jobs.create(kind="echo", input=f"s3://corpora/{folder}")
    glob = tm.jobs.create(kind="echo", input=f"s3://corpora/{folder}2026-*")
    one = tm.jobs.create(kind="echo", input=f"s3://corpora/{folder}*.gz")
    assert texts(outcome(whole)[0]) == ["a", "b", "c", "d", "e", "f"]
    assert texts(outcome(glob)[0]) == ["a", "b", "c", "d"]
    assert texts(outcome(one)[0]) == ["e", "f"]


def test_documents_below_a_prefix(tm: Textmill, s3: Minio, folder: str) -> None:
    for name in ("x.md", "y.md"):
        put(s3, folder + name, f"# {name}\n\ntext".encode())
    job = tm.jobs.create(kind="echo", input=f"s3://corpora/{folder}*.md", format="documents")
    results = outcome(job)[0]
    assert texts(results) == ["# x.md\n\ntext", "# y.md\n\ntext"]
    names = [f"s3://corpora/{folder}{name}" for name in ("x.md", "y.md")]
    assert [row["custom_id"] for row in results] == names


def test_bad_rows_become_errors_with_source_and_line(tm: Textmill, s3: Minio, folder: str) -> None:
    lines = [
        b'{"custom_id": "good-0", "text": "zero"}',
        b"this is no JSON",
        b"",
        b'{"custom_id": "no-text", "body": "x"}',
        b'{"text": 7}',
        b'{"text": "bad \xff\xfe bytes"}',
        b'{"custom_id": "nul", "text": "a\\u0000b"}',
        b'{"text": "  "}',
        b"[1, 2]",
        b'{"text": "' + b"long " * (2 << 20) + b'"}',
        b'{"custom_id": "good-9", "text": "nine"}',
    ]
    data = b"\n".join(lines)
    uri = put(s3, f"{folder}mixed.jsonl", data)
    jobs = {
        "mixed.jsonl": tm.jobs.create(kind="echo", input=upload(tm, data, "mixed.jsonl")),
        uri: tm.jobs.create(kind="echo", input=uri),
    }
    for source, job in jobs.items():
        results, errors = outcome(job)
        assert [(row["index"], row["output"]["text"]) for row in results] == [
            (0, "zero"),
            (9, "nine"),
        ]
        assert [(row["index"], row["line"], row["error"]["code"]) for row in errors] == [
            (1, 2, "invalid_json"),
            (2, 4, "missing_text"),
            (3, 5, "invalid_text"),
            (4, 6, "invalid_utf8"),
            (5, 7, "nul_character"),
            (6, 8, "empty_text"),
            (7, 9, "not_an_object"),
            (8, 10, "row_too_large"),
        ]
        assert {row["source"] for row in errors} == {source}
        assert [row["custom_id"] for row in errors] == [None, "no-text"] + [None] * 2 + ["nul"] + [
            None
        ] * 3


def test_a_corpus_of_mixed_formats_with_markers_and_broken_objects(
    tm: Textmill, s3: Minio, folder: str
) -> None:
    page = '<meta charset="koi8-r"><title>Мельница</title><nav>Домой</nav><p>Люди&nbsp;тут'
    objects = {
        "a/rows.jsonl.gz": packed(jsonl([{"text": "one"}, {"text": "two"}])),
        "a/table.csv": b"id,text\n1,three\n",
        "a/table.parquet": parquet({"text": ["four", "five"]}),
        "b/notes.md.zst": zstd(b"# Six\n\nnotes that are long enough for two frames"),
        "b/page.html": page.encode("koi8-r"),
        "b/lines.txt": b"eight\n\nnine\n",
        "c/cut.txt.gz": packed(b"lost")[:-9],
        "c/no-text.csv": b"id,body\n1,x\n",
        "c/wide.txt": "lost".encode("utf-16"),
        "c/damaged.parquet": parquet({"text": ["lost"]})[:-9],
        "d/last.txt": b"ten",
        "a/_SUCCESS": b"",
        "_errors.jsonl": jsonl([{"text": "hidden"}]),
        "_latest.json": b"{}",
        "d/.last.txt.crc": b"hidden",
        "d/picture.png": b"\x89PNG",
    }
    for name, data in objects.items():
        put(s3, folder + name, data)
    s3.put_object("corpora", folder + "empty/", io.BytesIO(), 0)
    job = tm.jobs.create(kind="echo", input=f"s3://corpora/{folder}", max_errors=4)
    results, errors = outcome(job)
    assert texts(results) == [
        *("one", "two", "three", "four", "five", "eight", "nine"),
        "# Six\n\nnotes that are long enough for two frames",
        "Мельница\n\nЛюди тут",
        "ten",
    ]
    assert results[-2]["custom_id"] == f"s3://corpora/{folder}b/page.html"
    assert [(row["source"].rpartition("/")[2], row["error"]["code"]) for row in errors] == [
        ("cut.txt.gz", "input_corrupt"),
        ("damaged.parquet", "input_corrupt"),
        ("no-text.csv", "missing_text_field"),
        ("wide.txt", "input_encoding"),
    ]
    (warning,) = job.refresh().raw["warnings"]
    assert (warning["code"], warning["count"]) == ("skipped_objects", 1)
    assert f"s3://corpora/{folder}d/picture.png" in warning["message"]
    strict = tm.jobs.create(kind="echo", input=f"s3://corpora/{folder}", max_errors=3)
    assert failure(strict)["code"] == "too_many_errors"


def test_a_corpus_of_many_small_objects(tm: Textmill, s3: Minio, folder: str) -> None:
    """Fetched by several at once, and in order all the same: by keys' bytes, where - comes before /."""
    names = [f"{n % 7}{'-/'[n % 2]}{n:03}.jsonl" for n in range(300)]
    for name in names:
        put(s3, folder + name, jsonl({"custom_id": name, "text": f"{n} in {name}"} for n in (0, 1)))
    results, errors = outcome(tm.jobs.create(kind="echo", input=f"s3://corpora/{folder}"))
    assert errors == []
    wanted = [(name, f"{n} in {name}") for name in sorted(names) for n in (0, 1)]
    assert [(row["custom_id"], row["output"]["text"]) for row in results] == wanted
