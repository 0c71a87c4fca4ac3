"""Learning from text alone: perplexity falls, and what was learnt loads again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobs.rows import Row
from nlp.generation.checkpoint import Checkpoint
from nlp.loading import load_config
from nlp.training.language import CausalLanguageTask
from nlp.training.params import TrainingParams
from nlp.training.task import Start
from tests.unit.nlp.conftest import chat_model
from tests.unit.nlp.tinymodels import CPU, TEXTS
from tests.unit.nlp.training.dates import date_rows
from tests.unit.nlp.training.runs import Trained

__all__ = ["chat_model"]

ROWS = [Row(number, f"{TEXTS[number % 7]} {number}") for number in range(70)]


@pytest.mark.parametrize(
    ("reference", "architecture"),
    [("scratch:llama", "LlamaForCausalLM"), ("scratch:bert", "BertForMaskedLM")],
)
def test_perplexity_falls_below_guessing_by_frequency(
    reference: str, architecture: str, tmp_path: Path
) -> None:
    params = {"task": "language_model", "epochs": 8, "batch_size": 16, "vocabulary": 400}
    made = Trained(tmp_path, None, params, date_rows(300), reference=reference)
    output = made.run().output
    seen = [one["metrics"]["perplexity"] for one in made.told("evaluation")]
    assert seen[-1] < 0.5 * seen[0]
    assert output["metrics"]["perplexity"] < output["baselines"]["frequencies"]["perplexity"]
    assert load_config(made.product).architectures == [architecture]


def test_an_encoder_without_a_head_for_hidden_words_gets_one(encoder: Path, tmp_path: Path) -> None:
    """And an error where its tokenizer has no token that hides."""
    made = Trained(tmp_path, encoder, {"task": "language_model"}, ROWS)
    with pytest.raises(Exception, match="no mask token"):
        made.run()


def test_perplexity_is_that_of_transformers(chat_model: Path, tmp_path: Path) -> None:
    params = TrainingParams.model_validate({"task": "language_model", "output_name": "tuned"})
    start = Start(
        base=chat_model,
        reference="pkg:chat",
        params=params,
        device=CPU,
        rows=ROWS,
        scratch=tmp_path,
    )
    task = CausalLanguageTask(start, Checkpoint.read(chat_model))
    found = task.evaluate(ROWS[:20]).metrics["loss"]
    total = count = 0.0
    for row in ROWS[:20]:
        ids = torch.tensor([task.example(row).values["ids"]])
        loss = task.model(input_ids=ids, labels=ids).loss.item()
        total += loss * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    assert found == pytest.approx(total / count, rel=1e-5)
