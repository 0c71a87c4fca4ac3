"""``s3://`` input: which objects it means, and who may read it."""

from __future__ import annotations

import pytest

from jobs.errors import InvalidRequest
from jobs.s3uri import S3Pattern, check_allowed


@pytest.mark.parametrize(
    ("uri", "listing", "matching", "other"),
    [
        ("s3://b/a.jsonl", None, ["a.jsonl"], ["a.jsonl.gz", "x/a.jsonl", "A.jsonl"]),
        ("s3://b/in/", "in/", ["in/a", "in/x/b"], ["in/", "in/x/", "inside", "other/a"]),
        ("s3://b/in/*.gz", "in/", ["in/a.gz", "in/x/b.gz"], ["in/a", "a.gz"]),
        ("s3://b/r-?.csv", "r-", ["r-1.csv"], ["r-10.csv", "r-.csv"]),
        ("s3://b/r-[12].csv", "r-", ["r-1.csv", "r-2.csv"], ["r-3.csv"]),
        (
            "s3://b/*",
            "",
            ["a", "x/y"],
            ["x/", "_SUCCESS", "x/.y", ".x/y", "_x/y", "x/_latest.json"],
        ),
        (
            "s3://b/in/",
            "in/",
            ["in/a_b.csv", "in/date=2026-11-01/part-0.csv", "in/latest.jsonl", "in/x/a.b"],
            ["in/_SUCCESS", "in/x/_errors.jsonl", "in/_tmp/a.csv", "in/.a.crc", "in/_latest.json"],
        ),
        # What the pattern writes itself is meant.
        ("s3://b/_in/.d/", "_in/.d/", ["_in/.d/a"], ["_in/.d/_a"]),
        ("s3://b/in/_e*", "in/_e", ["in/_errors.jsonl", "in/_e/x"], ["in/_e/_x", "in/_f"]),
        ("s3://b/in/*/_e*", "in/", ["in/x/_e", "in/x/_e/.y"], ["in/x/e"]),
        ("s3://b/in/_SUCCESS", None, ["in/_SUCCESS"], []),
    ],
)
def test_patterns(uri: str, listing: str | None, matching: list[str], other: list[str]) -> None:
    pattern = S3Pattern.parse(uri)
    assert pattern.bucket == "b"
    assert pattern.listing_prefix == listing
    assert [key for key in matching + other if pattern.matches(key)] == matching
    assert all(key.startswith(listing or "") for key in matching)
    assert pattern.is_many == (listing is not None)


def allowed(uri: str, *prefixes: str) -> bool:
    try:
        check_allowed(uri, own_bucket="textmill", allowed=prefixes, field="input.uri")
    except InvalidRequest:
        return False
    return True


@pytest.mark.parametrize(
    ("uri", "prefixes", "expected"),
    [
        ("s3://corpora/reviews/a.csv", ["s3://corpora/reviews/"], True),
        ("s3://corpora/reviews/*.csv", ["s3://x/", "s3://corpora/reviews/"], True),
        ("s3://corpora/a.csv", ["s3://corpora/"], True),
        ("s3://corpora/private/a.csv", ["s3://corpora/reviews/"], False),
        ("s3://corpora/rev*", ["s3://corpora/reviews/"], False),
        ("s3://corpora/*", ["s3://corpora/reviews/"], False),
        ("s3://corpora-private/a.csv", ["s3://corpora/"], False),
        ("s3://corpora/a.csv", [], False),
        ("s3://textmill/tenants/default/keys/", ["s3://textmill/"], False),
    ],
)
def test_who_may_read(uri: str, prefixes: list[str], expected: bool) -> None:
    assert allowed(uri, *prefixes) == expected


def test_the_refusal_names_what_is_allowed() -> None:
    with pytest.raises(InvalidRequest, match="allowed: s3://a/, s3://b/c") as caught:
        check_allowed(
            "s3://x/y", own_bucket="t", allowed=("s3://a/", "s3://b/c"), field="input.uri"
        )
    assert [field.field for field in caught.value.fields] == ["input.uri"]
    with pytest.raises(InvalidRequest, match="TEXTMILL_S3_ALLOWED_PREFIXES"):
        check_allowed("s3://x/y", own_bucket="t", allowed=(), field="input.uri")
