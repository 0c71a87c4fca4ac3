"""What a tenant sees of the workers that all tenants share."""

from __future__ import annotations

from typing import Any

import pytest

from api.system import shown_worker

WORKER: dict[str, Any] = {
    "id": "model-1",
    "job": "job_a",
    "models": [
        "pkg:minilm",
        "registry:mine@0a",
        "registry:theirs@0b",
        "s3://corpora/theirs",
        "hf:a/b",
    ],
    "busy": True,
}


@pytest.mark.parametrize(
    ("jobs", "shown"), [({"job_a"}, "job_a"), ({"job_b"}, None), (set(), None)]
)
def test_the_job_of_another_tenant_is_none(jobs: set[str], shown: str | None) -> None:
    assert shown_worker(WORKER, jobs, set())["job"] == shown


def test_models_that_only_another_tenant_knows_are_left_out() -> None:
    worker = shown_worker(WORKER, set(), {"mine"})
    assert worker["models"] == ["pkg:minilm", "registry:mine@0a", "hf:a/b"]
    assert worker["busy"]
    assert "registry:theirs@0b" in WORKER["models"]  # what it says of itself is left as it was
