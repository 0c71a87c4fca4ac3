"""A job's record: its progress, and how users and manifests see it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from jobs.record import JobRecord, rfc3339
from jobs.states import ENDED, Priority, Status

RECORD = JobRecord(
    id="job_x",
    tenant="default",
    kind="classify",
    status=Status.IN_PROGRESS,
    created_at=1_000,
    started_at=10_000,
    now=20_000,
    total=200,
    completed=90,
    failed=10,
    input_tokens=7,
    output_tokens=8,
    device_ms=1_234,
    version=3,
)


@pytest.mark.parametrize(
    ("change", "fraction", "rate", "eta"),
    [
        ({}, 0.5, 10.0, 10.0),
        ({"total": None}, None, 10.0, None),
        ({"started_at": None, "completed": 0, "failed": 0}, 0.0, None, None),
        ({"completed": 0, "failed": 0}, 0.0, None, None),
        ({"completed": 190}, 1.0, 20.0, 0.0),
        ({"total": 0, "completed": 0, "failed": 0}, 1.0, None, None),
        ({"status": Status.COMPLETED, "completed": 190, "ended_at": 15_000}, 1.0, 40.0, 0.0),
        ({"status": Status.CANCELLED, "ended_at": 15_000}, 0.5, 20.0, 0.0),
        ({"now": 9_000}, 0.5, None, None),
        ({"total": 300}, 0.333333, 10.0, 20.0),
    ],
)
def test_progress(
    change: dict[str, object], fraction: float | None, rate: float | None, eta: float | None
) -> None:
    assert dataclasses.replace(RECORD, **change).progress() == {  # type: ignore[arg-type] # one field of any type
        "fraction": fraction,
        "rows_per_second": rate,
        "eta_seconds": eta,
    }


def test_the_public_form() -> None:
    shown = RECORD.public()
    assert shown == {
        "id": "job_x",
        "object": "job",
        "kind": "classify",
        "name": None,
        "status": "in_progress",
        "model": None,
        "priority": "normal",
        "metadata": {},
        "request_counts": {"total": 200, "completed": 90, "failed": 10},
        "progress": RECORD.progress(),
        "created_at": "1970-01-01T00:00:01.000Z",
        "started_at": "1970-01-01T00:00:10.000Z",
        "ended_at": None,
        "expires_at": None,
        "attempts": 1,
        "waiting": None,
        "evaluation": None,
        "corpus": None,
        "estimate": None,
        "schedule": None,
        "training": None,
        "usage": {"input_tokens": 7, "output_tokens": 8, "device_seconds": 1.234},
        "output": None,
        "error": None,
        "warnings": [],
        "links": {
            "self": "/v1/jobs/job_x",
            "results": "/v1/jobs/job_x/results",
            "errors": "/v1/jobs/job_x/errors",
            "cancel": "/v1/jobs/job_x/cancel",
            "retry": "/v1/jobs/job_x/retry",
        },
    }
    assert "tenant" not in json.dumps(shown)


def test_a_manifest_gives_the_record_back() -> None:
    record = dataclasses.replace(
        RECORD,
        status=Status.FAILED,
        priority=Priority.HIGH,
        error={"code": "x", "message": "y"},
        warnings=[{"code": "w"}],
        metadata={"a": "b"},
        ended_at=30_000,
    )
    back = JobRecord.from_json(json.loads(json.dumps(record.to_json())))
    assert back == record
    assert isinstance(back.status, Status)
    assert isinstance(back.priority, Priority)


@pytest.mark.parametrize("status", sorted(ENDED))
def test_time_stops_at_the_end(status: Status) -> None:
    ended = dataclasses.replace(RECORD, status=status, ended_at=12_500, now=99_999_999)
    assert ended.seconds_running == 2.5


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_444_100_360, "2026-11-23T14:28:20.360Z"),
    ],
)
def test_times(milliseconds: int | None, expected: str | None) -> None:
    assert rfc3339(milliseconds) == expected
