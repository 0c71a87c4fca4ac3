"""Learning to classify: what comes out, how it is measured, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from jobs.errors import InvalidRequest, JobFailure
from jobs.kinds import RunContext
from jobs.rows import BadRow, Row, RowFailure, Success
from nlp.encoder import EncoderModel
from nlp.kinds.classify import Classify, ClassifyParams
from tests.unit.nlp.tinymodels import AUTO, CPU
from tests.unit.nlp.training.runs import Trained, labelled

QUICK = {"task": "classify", "epochs": 6, "learning_rate": 3e-3, "batch_size": 8}


def classified(model: EncoderModel, rows: Sequence[Row]) -> list[Success]:
    kind, params = Classify(), ClassifyParams(top_k=1000)
    context = RunContext(device=CPU)
    model.activate()
    state = kind.prepare(model, params, context)
    outcomes = kind.run(model, state, rows, params, context)
    assert all(isinstance(one, Success) for one in outcomes)
    return [one for one in outcomes if isinstance(one, Success)]


def accuracy(outcomes: Sequence[Success], rows: Sequence[Row]) -> float:
    right = [
        one.output["label"] == row.fields["label"] for one, row in zip(outcomes, rows, strict=True)
    ]
    return float(sum(right) / len(right))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_kind_classify_gives_the_same_held_out_score(
    tmp_path: Path, encoder: Path, method: str
) -> None:
    held_out = [row for row in labelled(200) if row.index >= 150]
    # Wrong on purpose, so that a score of 1 proves nothing.
    wrong = [
        Row(200 + n, held_out[n].text + " indeed", fields={"label": "praise"}) for n in range(9)
    ]
    test = [*held_out, *wrong]
    params = {**QUICK, "method": method, "test": "file-1", "group_field": "country"}
    trained = Trained(tmp_path, encoder, params, labelled(150), {"test": test})
    result = trained.run()
    model = EncoderModel.load(encoder if method == "lora" else trained.product, AUTO)
    if method == "lora":
        model = model.adapted(trained.product, encoder)
    reached = accuracy(classified(model, test), test)
    assert result.output["metrics"]["accuracy"] == pytest.approx(reached)
    assert 0.7 < reached < 1
    assert result.output["baselines"].keys() == {"majority", "tfidf"}
    assert result.output["rows"]["test"] == len(test)
    assert result.product is not None
    assert result.product.facts["metrics"] == result.output["metrics"]


def test_any_number_of_labels_a_row(tmp_path: Path, encoder: Path) -> None:
    rows = [
        Row(
            row.index,
            row.text,
            fields={"labels": [row.fields["label"]] + ["odd"] * (row.index % 2)},
        )
        for row in labelled(150)
    ]
    rows = [*rows, Row(150, "nothing of all that", fields={"labels": []})]
    trained = Trained(tmp_path, encoder, {**QUICK, "epochs": 8, "class_weights": "balanced"}, rows)
    result = trained.run()
    assert result.output["metrics"]["micro_f1"] > 0.5
    outcomes = classified(EncoderModel.load(trained.product, AUTO), rows[:1])
    assert {entry["label"] for entry in outcomes[0].output["labels"]} == {
        "odd",
        "parcel",
        "praise",
        "refund",
    }
    assert sum(entry["score"] for entry in outcomes[0].output["labels"]) != pytest.approx(
        1, abs=1e-3
    )


def test_a_head_that_knows_the_labels_is_trained_further(tmp_path: Path, encoder: Path) -> None:
    first = Trained(tmp_path / "first", encoder, QUICK, labelled(150))
    first.run()
    rows = [row for row in labelled(150) if row.fields["label"] != "praise"]
    second = Trained(
        tmp_path / "second", first.product, {**QUICK, "epochs": 0.1, "learning_rate": 1e-9}, rows
    )
    assert second.run().output["metrics"]["accuracy"] > 0.9
    config = json.loads((second.product / "config.json").read_text("utf-8"))
    assert set(config["label2id"]) == {"parcel", "praise", "refund"}


def test_the_data_report_tells_of_rows_that_are_not_used(tmp_path: Path, encoder: Path) -> None:
    rows = labelled(60)
    bad = BadRow(60, RowFailure("invalid_json", "The line is not JSON."), "rows.jsonl", 61)
    unlabelled = Row(61, "without", source="rows.jsonl", line=62)
    again = Row(62, f"{rows[0].text}!", fields=rows[0].fields)
    long = Row(63, "word " * 200, fields=rows[0].fields)
    trained = Trained(
        tmp_path,
        encoder,
        {**QUICK, "epochs": 1, "validation": 0},
        [*rows, bad, unlabelled, again, long],
    )
    trained.run()
    report = json.loads((trained.product / "data_report.json").read_text("utf-8"))
    told = report["files"]["training"]
    assert (told["rows"], told["bad_rows"]) == (62, 2)
    assert told["bad_by_code"] == {"invalid_json": 1, "missing_label": 1}
    assert [(one["line"], one["code"]) for one in told["first_bad"]] == [
        (61, "invalid_json"),
        (62, "missing_label"),
    ]
    assert report["duplicates"]["same"] == 1
    assert report["parts"]["validation"]["rows"] == 0
    assert report["cut_rows"] == 1
    assert next(iter(report["languages"])) == "en"


def of_one_label(rows: Sequence[Row]) -> list[Row]:
    return [Row(row.index, row.text, fields={"label": "a"}) for row in rows]


def of_no_label(rows: Sequence[Row]) -> list[Row]:
    return [Row(row.index, row.text, source="x.csv", line=row.line) for row in rows]


@pytest.mark.parametrize(
    ("rows", "params", "failure"),
    [
        (of_one_label(labelled(30)), {}, ("one_class", "only 'a'")),
        (of_no_label(labelled(30)), {}, ("missing_labels", "x.csv line 1")),
        (labelled(1), {}, ("too_few_rows", "for training")),
        ([], {}, ("too_few_rows", "None of the 0 rows")),
        (labelled(30), {"metric": "bleu"}, ("invalid_params", "macro_f1")),
        (labelled(30), {"class_weights": {"nobody": 2.0}}, ("invalid_params", "nobody")),
        (labelled(30), {"method": "lora", "lora_targets": ["q_proj"]}, ("invalid_params", "query")),
    ],
)  # fmt: skip
def test_what_cannot_work_is_named(
    tmp_path: Path, encoder: Path, rows: list[Row], params: dict[str, Any], failure: tuple[str, str]
) -> None:
    run = Trained(tmp_path, encoder, {**QUICK, "epochs": 1, **params}, rows)
    with pytest.raises(JobFailure) as failed:
        run.run()
    code, said = failure
    assert failed.value.failure_code == code
    assert said in failed.value.detail
    assert not run.told("step")


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path, encoder: Path) -> None:
    run = Trained(tmp_path, _huge(encoder, tmp_path / "huge"), QUICK, labelled(90))
    with pytest.raises(JobFailure) as failed:
        run.run()
    assert failed.value.failure_code == "training_diverged"
    assert failed.value.field == "params.learning_rate"


def test_early_stopping_keeps_the_best_state(tmp_path: Path, encoder: Path) -> None:
    params = {**QUICK, "epochs": 50, "early_stopping": 2, "metric": "accuracy", "test": 0.0}
    run = Trained(tmp_path, encoder, params, labelled(150))
    result = run.run()
    told = run.told("evaluation")
    values = [one["metrics"]["accuracy"] for one in told]
    assert len(values) < 50
    assert values.index(max(values)) == len(values) - 3
    assert result.output["measured_on"] == "validation"
    assert result.output["metrics"]["accuracy"] == pytest.approx(max(values))


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"validation": 0.6, "test": 0.6}, "validation and test"),
        ({"prompt": "Summarize"}, "{text}"),
        ({"epochs": 0}, "epochs"),
        ({"output_name": "a/b"}, "output_name"),
    ],
)
def test_parameters_that_cannot_be_are_refused(
    tmp_path: Path, encoder: Path, params: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Trained(tmp_path, encoder, {**QUICK, **params}, labelled(3)).run()
    assert field in refused.value.detail


def _huge(encoder: Path, folder: Path) -> Path:
    """The same encoder with weights so large that nothing stays finite."""
    folder.mkdir()
    for path in encoder.iterdir():
        if path.suffix == ".safetensors":
            weights = {name: one * 1e30 for name, one in load_file(path).items()}
            save_file(weights, folder / path.name, metadata={"format": "pt"})
        else:
            (folder / path.name).write_bytes(path.read_bytes())
    return folder
