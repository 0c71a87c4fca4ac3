"""What a training does where its user says nothing; and that others read what it made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from jobs.kinds import RunContext
from jobs.rows import Success
from nlp.encoder import EncoderModel
from nlp.kinds.classify import Classify, ClassifyParams
from nlp.training.classify import suited
from tests.unit.nlp.tinymodels import AUTO, CPU
from tests.unit.nlp.training.runs import Trained, labelled


@pytest.mark.parametrize("rows", [40, 160, 400, 1_000, 1_001, 4_000, 4_001, 100_000])
def test_few_rows_are_gone_through_more_often(rows: int) -> None:
    found = suited(rows, 384, lora=False)
    steps = found.epochs * rows / found.batch_size
    assert 3 <= found.epochs <= 12
    assert steps >= 300 or found.epochs == 12
    assert suited(2 * rows, 384, lora=False).epochs <= found.epochs
    assert suited(2 * rows, 384, lora=False).batch_size >= found.batch_size


def test_wide_encoders_take_smaller_steps() -> None:
    rates = [suited(500, width, lora=False).learning_rate for width in (128, 384, 768, 1024)]
    assert rates[0] == rates[1] > rates[2] > rates[3] > 1e-5


def test_what_the_job_says_comes_first(tmp_path: Path, encoder: Path) -> None:
    said = {"epochs": 1.0, "batch_size": 5, "early_stopping": 7, "learning_rate": 1e-5}
    run = Trained(tmp_path, encoder, {"task": "classify", **said}, labelled(60))
    result = run.run()
    assert result.product is not None
    hyper = result.product.facts["measured"]["hyper"]
    assert {name: hyper[name] for name in said} == said


def test_transformers_alone_gives_the_same_scores(tmp_path: Path, encoder: Path) -> None:
    rows = labelled(90)
    run = Trained(tmp_path, encoder, {"task": "classify", "epochs": 2}, rows)
    run.run()
    ours = EncoderModel.load(run.product, AUTO)
    ours.activate()
    kind, params, context = Classify(), ClassifyParams(), RunContext(device=CPU)
    found = kind.run(ours, kind.prepare(ours, params, context), rows[:20], params, context)
    auto: Any = AutoModelForSequenceClassification
    model = auto.from_pretrained(run.product).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(run.product)
    for row, one in zip(rows, found, strict=False):
        with torch.inference_mode():
            logits = model(**tokenizer(row.text, return_tensors="pt", truncation=True)).logits
        assert isinstance(one, Success)
        scores = {entry["label"]: entry["score"] for entry in one.output["labels"]}
        plain = dict(
            zip(model.config.id2label.values(), logits.softmax(1)[0].tolist(), strict=True)
        )
        assert scores == pytest.approx(plain, abs=1e-4)
