"""Encoders of many families through classify, against plain transformers in fp32, one row at a time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from jobs.kinds import RunContext
from jobs.rows import Success
from nlp.encoder import EncoderModel
from nlp.kinds.classify import Classify, ClassifyParams
from tests.unit.nlp.tinyencoders import PACKED, PADDED, save_encoder
from tests.unit.nlp.tinymodels import CPU, EXACT, TEXTS, rows_of

KIND = Classify()
LABELS = ["delivery", "payment", "login problem", "praise"]
NLI = ["contradiction", "neutral", "entailment"]
#: Like lengths and unlike ones, one longer than any model here takes, and one that names the padding token.
CORPUS = [
    *TEXTS,
    *("".join(random.Random(number).choices("abcde fgh", k=5 + number % 7)) for number in range(9)),
    "word " * 90,
    "a<pad>b <pad>",
]


def scores(folder: Path, params: dict[str, Any], texts: Sequence[str]) -> list[dict[str, float]]:
    """Scores by label of each text, in one run; the model must have settled on the expected way."""
    model = KIND.load(folder, EXACT)
    parsed, context = ClassifyParams(**params), RunContext(device=CPU)
    found = KIND.run(model, KIND.prepare(model, parsed, context), rows_of(texts), parsed, context)
    assert model.describe()["fallbacks"] == []
    outputs = [dict(one.output) for one in found if isinstance(one, Success)]
    assert len(outputs) == len(texts)
    return [{item["label"]: item["score"] for item in one["labels"]} for one in outputs]


class Reference:
    """Plain transformers in fp32."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        auto: Any = AutoModelForSequenceClassification
        self._model = auto.from_pretrained(folder, dtype=torch.float32).eval()

    def logits(self, *texts: str) -> torch.Tensor:
        """Of one text or pair."""
        inputs = self._tokenizer(
            *texts, return_tensors="pt", truncation="only_first", max_length=64
        )
        with torch.inference_mode():
            logits: torch.Tensor = self._model(**inputs).logits[0]
        return logits


def assert_scores(found: dict[str, float], expected: Sequence[float]) -> None:
    assert found == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-4)
    best = max(range(len(LABELS)), key=lambda place: expected[place])
    assert max(found, key=lambda label: found[label]) == LABELS[best]


@pytest.mark.parametrize("family", [*PACKED, *PADDED])
def test_heads(family: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", family, LABELS)
    found = scores(folder, {}, CORPUS)
    assert len({one[LABELS[0]] for one in found}) == len(CORPUS)
    plain = Reference(folder)
    for text, one in zip(CORPUS, found, strict=True):
        assert_scores(one, plain.logits(text).softmax(dim=0).tolist())


@pytest.mark.parametrize("family", ["distilbert", "roberta"])
def test_heads_with_several_labels(family: str, tmp_path: Path) -> None:
    folder = save_encoder(
        tmp_path / "model", family, LABELS, problem_type="multi_label_classification"
    )
    plain = Reference(folder)
    for text, one in zip(CORPUS, scores(folder, {}, CORPUS), strict=True):
        assert_scores(one, plain.logits(text).sigmoid().tolist())


@pytest.mark.parametrize("family", [*PACKED, *PADDED])
def test_entailment(family: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", family, NLI)
    params = {"candidate_labels": LABELS, "hypothesis_template": "It is {}."}
    texts, plain = CORPUS[:4], Reference(folder)
    for text, one in zip(texts, scores(folder, params, texts), strict=True):
        logits = [plain.logits(text, f"It is {label}.")[2] for label in LABELS]
        assert_scores(one, torch.stack(logits).softmax(dim=0).tolist())


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("family", [*PACKED, *PADDED])
def test_embeddings(family: str, pooling: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", family)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(f'{{"pooling_mode": "{pooling}"}}', "utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain: Any = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def embedding(text: str) -> torch.Tensor:
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
        with torch.inference_mode():
            states = plain(**inputs).last_hidden_state[0]
        pooled = states[0] if pooling == "cls" else states.mean(dim=0)
        return torch.nn.functional.normalize(pooled, dim=0)

    labels = torch.stack([embedding(f"This example is about {label}.") for label in LABELS])
    found = scores(folder, {"candidate_labels": LABELS}, CORPUS)
    for text, one in zip(CORPUS, found, strict=True):
        assert_scores(one, (20 * labels @ embedding(text)).softmax(dim=0).tolist())


@pytest.mark.parametrize("family", [*PACKED, *PADDED])
def test_order_and_neighbours_do_not_matter(family: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", family, LABELS)
    together = dict(zip(CORPUS, scores(folder, {}, CORPUS), strict=True))
    shuffled = random.Random(3).sample(CORPUS, len(CORPUS))
    for text, one in zip(shuffled, scores(folder, {}, shuffled), strict=True):
        assert one == pytest.approx(together[text], abs=1e-5)
    for text in CORPUS[4:10]:
        assert scores(folder, {}, [text])[0] == pytest.approx(together[text], abs=1e-4)


@pytest.mark.parametrize("family", [*PACKED, *PADDED])
def test_families_that_are_packed(family: str, tmp_path: Path) -> None:
    model = EncoderModel.load(save_encoder(tmp_path / "model", family, LABELS), EXACT)
    assert model.describe()["path"] == ("packed" if family in PACKED else "padded")


@pytest.mark.parametrize("family", PACKED)
def test_packing_takes_no_memory_of_its_own(family: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", family, LABELS)
    plain: Any = AutoModelForSequenceClassification.from_pretrained(folder)
    sizes = [
        value.numel() * value.element_size() for value in (*plain.parameters(), *plain.buffers())
    ]
    assert EncoderModel.load(folder, EXACT).memory_bytes == sum(sizes)
