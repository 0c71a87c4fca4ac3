"""A model rolled out and back: a running job keeps its version, the next one takes what the alias means by then."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import httpx
import pytest
from minio import Minio

from tests.integration.stack.dialogue import CORPORA, JOB_SECONDS, jsonl, outcome, problem, upload
from tests.unit.nlp.tinymodels import save_classifier
from textmill import Conflict, Job, Textmill
from textmill import NotFound as Missing

#: Enough that a job still runs while its alias moves.
ROWS = 12_000


@pytest.fixture
def model(tm: Textmill, s3: Minio, folder: str, tmp_path: Path) -> tuple[str, str, str]:
    """A registered model with two versions, which know other labels; its name and theirs."""
    name = f"rollout-{secrets.token_hex(4)}"
    versions = []
    for number, labels in enumerate((["a", "b"], ["c", "d"])):
        files = tmp_path / str(number)
        save_classifier(files, labels)
        for path in files.iterdir():
            s3.fput_object(CORPORA, f"{folder}{number}/{path.name}", str(path))
        job = tm.models.import_model(f"s3://{CORPORA}/{folder}{number}", name=name)
        versions.append(str(outcome(job)[0][0]["output"]["version"]))
    return name, versions[0], versions[1]


def classify(tm: Textmill, model: str, rows: int) -> Job:
    data = jsonl({"text": f"a short text, number {number}"} for number in range(rows))
    return tm.jobs.create(kind="classify", model=model, input=upload(tm, data))


def labels(job: Job) -> set[str]:
    results, errors = outcome(job)
    assert errors == []
    return {row["output"]["label"] for row in results}


def running(job: Job) -> bool:
    """Whether it computes: some rows are done and others not."""
    deadline = time.monotonic() + JOB_SECONDS
    while time.monotonic() < deadline:
        seen = job.refresh()
        if seen.ended or seen.counts.done:
            return not seen.ended
        time.sleep(0.05)
    raise AssertionError(job.raw)


def test_a_running_job_keeps_its_version_and_the_next_takes_the_new_one(
    tm: Textmill, model: tuple[str, str, str]
) -> None:
    name, old, new = model
    tm.models.alias(name, "prod", old)
    job = classify(tm, f"{name}@prod", ROWS)
    assert running(job)
    tm.models.alias(name, "prod", new)
    following = classify(tm, f"{name}@prod", 5)
    assert not job.refresh().ended
    with pytest.raises(Conflict, match=job.id):
        tm.models.delete(name, version=old)
    assert labels(job) <= {"a", "b"}
    assert labels(following) <= {"c", "d"}
    assert (job.raw["model"]["version"], following.raw["model"]["version"]) == (old, new)

    assert tm.models.roll_back(name, "prod").version == old
    assert labels(classify(tm, f"{name}@prod", 5)) <= {"a", "b"}
    history = tm.models.show_alias(name, "prod").history
    assert [(move.reason, move.version) for move in history] == [
        ("rollback", old),
        ("set", new),
        ("set", old),
    ]


def test_what_is_in_use_stays_and_what_is_not_goes(
    tm: Textmill, http: httpx.Client, model: tuple[str, str, str]
) -> None:
    name, old, new = model
    path = f"/v1/models/{name}"
    problem(http.delete(f"{path}/versions/{new}"), 409, "conflict", "alias")
    problem(http.post(f"{path}/aliases/prod/rollback"), 404, "not_found")
    tm.models.alias(name, "prod", old)
    problem(http.delete(f"{path}/versions/{old}"), 409, "conflict", "alias")
    problem(http.delete(path), 409, "conflict", "alias")
    problem(http.delete(f"{path}/aliases/latest"), 409, "conflict")
    tm.models.delete(name, alias="prod")
    tm.models.delete(name, version=old)
    assert [one.version for one in tm.models.get(name).versions] == [new]
    tm.models.delete(name)
    with pytest.raises(Missing):
        tm.models.get(name)
    assert name not in [one.name for one in tm.models.list()]
    problem(http.delete(path), 404, "not_found")


def test_a_rollback_that_is_sent_again_goes_no_further(
    tm: Textmill, http: httpx.Client, model: tuple[str, str, str]
) -> None:
    name, old, new = model
    for version in (old, new, old, new):
        tm.models.alias(name, "prod", version)
    path = f"/v1/models/{name}/aliases/prod/rollback"
    key = {"Idempotency-Key": secrets.token_hex(8)}
    assert [http.post(path, headers=key).json()["version"] for _ in range(2)] == [old, old]
    assert http.post(path).json()["version"] == new
    assert tm.models.get(name).raw["versions"][0]["origins"][0]["source"].startswith("s3://")
