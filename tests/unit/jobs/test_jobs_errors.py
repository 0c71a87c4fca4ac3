"""Errors: every one knows its code, status and title, and shows no more of a value than it should."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from jobs.errors import (
    BodyTooSlow,
    Conflict,
    FieldError,
    Forbidden,
    InvalidRequest,
    JobFailure,
    MalformedBody,
    NotFound,
    QuotaExceeded,
    RateLimited,
    TextmillError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnsupportedMedia,
    shorten,
)

STATUSES: dict[type[TextmillError], tuple[str, int]] = {
    TextmillError: ("internal_error", 500),
    InvalidRequest: ("invalid_request", 422),
    UnknownModel: ("unknown_model", 422),
    MalformedBody: ("malformed_body", 400),
    Unauthenticated: ("unauthenticated", 401),
    Forbidden: ("forbidden", 403),
    NotFound: ("not_found", 404),
    Conflict: ("conflict", 409),
    BodyTooSlow: ("body_too_slow", 408),
    TooLarge: ("too_large", 413),
    UnsupportedMedia: ("unsupported_media_type", 415),
    RateLimited: ("rate_limited", 429),
    QuotaExceeded: ("quota_exceeded", 429),
    Unavailable: ("unavailable", 503),
    JobFailure: ("internal_error", 422),
}


def tree(root: type[TextmillError]) -> Iterator[type[TextmillError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == "jobs.errors":
            yield from tree(child)


def test_the_table_is_the_whole_tree() -> None:
    assert set(tree(TextmillError)) == set(STATUSES)


@pytest.mark.parametrize("error", list(STATUSES))
def test_code_and_status_are_stable(error: type[TextmillError]) -> None:
    assert (error.code, error.status) == STATUSES[error]
    assert re.fullmatch(r"[a-z_]+", error.code)
    assert error.title


def test_the_detail_is_the_message() -> None:
    error = Conflict("the job has ended")
    assert (str(error), error.detail, error.fields) == (error.detail, "the job has ended", ())


def test_one_wrong_field() -> None:
    error = InvalidRequest.of("params.top_k", "expected at least 1", 0)
    assert error.detail == "params.top_k: expected at least 1"
    assert error.fields == (
        FieldError(field="params.top_k", reason="expected at least 1", value="0"),
    )
    assert isinstance(UnknownModel.of("model", "no such model"), UnknownModel)


def test_unavailable_says_when_to_come_back() -> None:
    assert Unavailable("away").retry_after == 2
    assert Unavailable("away", retry_after=30).retry_after == 30


def test_a_job_failure_has_a_code_of_its_own() -> None:
    failure = JobFailure("empty_input", "the input holds no rows", field="input")
    assert (failure.failure_code, failure.field) == ("empty_input", "input")
    assert [field.field for field in failure.fields] == ["input"]
    assert JobFailure("kind_broken", "x").fields == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("short", "short"),
        (12, "12"),
        ("a\nb\x00\u202e", "a\N{REPLACEMENT CHARACTER}b" + "\N{REPLACEMENT CHARACTER}" * 2),
        ("x" * 120, "x" * 120),
        ("x" * 121, "x" * 119 + "…"),
        ("x" * 10**6, "x" * 119 + "…"),
    ],
)
def test_values_are_shortened_and_made_printable(value: object, expected: str | None) -> None:
    assert shorten(value) == expected
