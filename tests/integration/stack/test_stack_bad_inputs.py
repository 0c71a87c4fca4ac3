"""Thousands of bad inputs while a good job runs: each is refused by name, and the job ends right."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.stack.badinputs import HEADERS, PATHS, QUERIES, Bad, bodies, submissions
from tests.integration.stack.dialogue import outcome, submission
from textmill import Textmill

#: Distinct ones that there must be, lest the lists shrink unnoticed.
LEAST = 2_000

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_each_is_refused_by_name_while_a_good_job_runs(http: httpx.Client, tm: Textmill) -> None:
    good = tm.jobs.create(
        kind="echo", input=[f"good {n}" for n in range(200)], params={"delay_ms": 50}
    )
    bad = list(submissions(http.get("/openapi.json").json()))
    distinct = {json.dumps(one.body, sort_keys=True) for one in bad}
    assert len(distinct) >= LEAST
    wrong = [said for one in bad if (said := _fault(http, one)) is not None]
    wrong += [
        f"{data[:40]!r} {headers}: {reply.status_code} {reply.text[:200]}"
        for data, headers in bodies()
        if not _is_problem(reply := http.post("/v1/jobs", content=data, headers=headers))
    ]
    assert not wrong, f"{len(wrong)} of {len(bad)}:\n" + "\n".join(wrong[:40])
    results, errors = outcome(good)
    assert [row["output"]["text"] for row in results] == [f"good {n}" for n in range(200)]
    assert errors == []


def _fault(http: httpx.Client, bad: Bad) -> str | None:
    """What is wrong with how the API refuses this, or None."""
    # As bytes, for httpx would refuse some of it itself.
    content = json.dumps(bad.body, allow_nan=False).encode()
    reply = http.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    if not _is_problem(reply):
        return f"{bad.field}={bad.about}: {reply.status_code} {reply.text[:200]}"
    document = reply.json()
    named = [error["field"] for error in document["errors"]]
    beginning = bad.field.partition(".")[0] if bad.field.startswith("input") else bad.field
    if document["status"] == 413 or any(name.startswith(beginning) for name in named):
        return None
    return f"{bad.field}={bad.about}: names {named}: {document['detail'][:120]}"


def _is_problem(reply: httpx.Response) -> bool:
    return (
        400 <= reply.status_code < 500
        and reply.headers["Content-Type"] == "application/problem+json"
        and bool(reply.json()["detail"])
    )


@pytest.mark.parametrize(("name", "value"), HEADERS)
def test_a_wrong_header(http: httpx.Client, name: str, value: str) -> None:
    headers: Any = {name: value.encode("latin-1"), "Content-Type": "application/json"}
    assert _is_problem(http.post("/v1/jobs", json=submission(), headers=headers))


@pytest.mark.parametrize("path", [*PATHS, *QUERIES])
def test_a_wrong_path_or_query(http: httpx.Client, path: str) -> None:
    reply = http.request("GET", http.base_url.copy_with(raw_path=path.encode()))
    assert _is_problem(reply), f"{reply.status_code} {reply.text[:200]}"


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(_JSON)
def test_whatever_else_is_json(http: httpx.Client, value: Any) -> None:
    for body in (value, submission(params=value), submission(input=value)):
        if body is value or value not in ({}, None):
            reply = http.post("/v1/jobs", json=body)
            assert reply.status_code == 201 or _is_problem(reply), reply.text[:300]
