"""A model is trained, measured, and put to work: the job that uses it gives the same score."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest
from minio import Minio

from tests.integration.stack.commands import textmill
from tests.integration.stack.dialogue import CORPORA, jsonl, outcome, problem, upload
from tests.integration.stack.running import RunningStack
from tests.unit.nlp.tinymodels import save_classifier
from tests.unit.nlp.training.runs import labelled
from textmill import Textmill


@pytest.fixture
def base(s3: Minio, folder: str, tmp_path: Path) -> str:
    """A tiny encoder that has learnt nothing yet."""
    for path in save_classifier(tmp_path / "base", ["a", "b"]).iterdir():
        s3.fput_object(CORPORA, f"{folder}base/{path.name}", str(path))
    return f"s3://{CORPORA}/{folder}base"


def rows(start: int, stop: int) -> list[dict[str, Any]]:
    """Rows of three labels. Every seventh is labelled wrongly, so that no model gets all of them right."""
    return [
        {
            "text": row.text + " indeed" * (row.index % 7 == 0),
            "label": "praise" if row.index % 7 == 0 else row.fields["label"],
            "country": row.fields["country"],
        }
        for row in labelled(stop)
        if row.index >= start
    ]


def test_a_job_with_the_new_model_scores_what_the_training_said(
    stack: RunningStack, tm: Textmill, http: httpx.Client, base: str, tmp_path: Path
) -> None:
    name = f"parcels-{secrets.token_hex(4)}"
    test = jsonl(rows(150, 220))
    params = {
        "task": "classify",
        "output_name": name,
        "test": upload(tm, test),
        "group_field": "country",
        "epochs": 6,
        "learning_rate": 3e-3,
        "batch_size": 8,
    }
    trained = tm.jobs.create(
        kind="fine_tune", model=base, input=upload(tm, jsonl(rows(0, 150))), params=params
    )
    said = outcome(trained)[0][0]["output"]
    assert said["measured_on"] == "test"
    assert 0.4 < said["metrics"]["macro_f1"] < 1

    job = tm.jobs.create(
        kind="classify",
        model=f"registry:{name}@latest",
        input=upload(tm, test),
        params={"evaluate": True, "group_field": "country"},
    )
    job = job.wait(timeout=120)
    found = job.evaluation
    assert found is not None
    assert (found.rows, found.without_gold, found.gold_field) == (said["rows"]["test"], 0, "label")
    for metric in ("accuracy", "macro_f1", "worst_group_accuracy", "group_gap_accuracy"):
        assert found.metrics[metric] == pytest.approx(said["metrics"][metric], abs=1e-12), metric
    for metric in ("ece", "brier"):  # results hold scores of six decimals
        assert found.metrics[metric] == pytest.approx(said["metrics"][metric], abs=1e-5), metric
    assert found.groups["field"] == "country"
    assert found.baselines["majority"]["accuracy"] < found.metrics["accuracy"]

    whole = tm.jobs.evaluation(job.id)
    assert whole["metrics"] == found.metrics
    assert sum(map(sum, whole["details"]["confusion"]["matrix"])) == found.rows
    assert {one["label"] for one in whole["details"]["labels"]} == {"parcel", "refund", "praise"}
    assert job.raw["links"]["evaluation"] == f"/v1/jobs/{job.id}/evaluation"

    shown = textmill(stack, "status", job.id, cwd=tmp_path).stdout
    assert "majority" in shown
    assert f"{found.metrics['macro_f1']:.4g}" in shown
    shown = textmill(stack, "evaluation", job.id, cwd=tmp_path).stdout
    assert "precision" in shown
    assert "country" in shown
    printed = textmill(stack, "evaluation", job.id, "--json", cwd=tmp_path).stdout
    assert json.loads(printed) == whole


def test_there_is_no_evaluation_unless_it_was_asked_for(tm: Textmill, http: httpx.Client) -> None:
    job = tm.jobs.create(kind="echo", input=[{"text": "a", "gold": "a"}])
    assert job.wait(timeout=60).evaluation is None
    problem(http.get(f"/v1/jobs/{job.id}/evaluation"), 404, "not_found")
    slow = tm.jobs.create(kind="echo", input=["a"], params={"delay_ms": 2000, "evaluate": True})
    problem(http.get(f"/v1/jobs/{slow.id}/evaluation"), 409, "conflict")
    slow.wait(timeout=60)


def test_fields_of_an_evaluation_that_nobody_asked_for_are_refused(http: httpx.Client) -> None:
    body = {"kind": "echo", "input": {"items": [{"text": "a"}]}, "params": {"group_field": "g"}}
    found = problem(http.post("/v1/jobs", json=body), 422, "invalid_request")
    assert "evaluate" in found["errors"][0]["reason"]
