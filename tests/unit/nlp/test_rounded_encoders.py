"""Encoders in bf16 and by OpenVINO on a trained classifier, against plain fp32 transformers one row at a time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from babel import Locale
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from jobs.kinds import REFERENCE, LoadOptions, Precision, RunContext
from jobs.rows import Success
from nlp.encoder import EncoderModel
from nlp.engines.agreement import EXACT_SCORE, MARGIN, MOST_SCORE, USUAL_SCORE
from nlp.kinds.classify import Classify, ClassifyParams
from tests.unit.nlp.tinyencoders import save_encoder
from tests.unit.nlp.tinymodels import CPU, rows_of

LANGUAGES = ["ar", "de", "el", "fi", "ja", "ru"]
ROWS, STEPS, BATCH, RATE = 1200, 150, 64, 2e-3
#: Of a hundred labels, those that rounding may change where margins are narrow.
MOST_CHANGED = 0.1
#: Engine, precision, and how rows are laid out.
WAYS: list[tuple[str, Precision, str]] = [
    ("torch", "bf16", "packed"),
    (REFERENCE, "bf16", "padded"),
    ("torch", "fp32", "packed"),
    (REFERENCE, "fp32", "padded"),
    ("openvino", "auto", "padded"),
]


@dataclass(frozen=True)
class Trained:
    """A classifier, texts that it never saw, and what plain transformers makes of each by itself."""

    folder: Path
    texts: Sequence[str]
    right: Sequence[int]
    scores: torch.Tensor  #: ``[texts, languages]``


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    names = languages_by_name()
    held_out, learned = names[:ROWS], names[ROWS:]
    folder = save_encoder(
        tmp_path_factory.mktemp("trained") / "model", "bert", LANGUAGES,
        hidden_size=64, intermediate_size=128, initializer_range=0.05,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    train(model, tokenizer, learned)
    model.save_pretrained(folder)
    with torch.inference_mode():
        plain = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text, _ in held_out]
    texts, right = zip(*held_out, strict=True)
    yield Trained(folder, texts, right, torch.stack(plain).softmax(dim=1))
    torch.set_num_threads(threads)


def languages_by_name() -> list[tuple[str, int]]:
    """Names of places, languages and scripts, each with the one language in which it is called so."""
    found = []
    for number, code in enumerate(LANGUAGES):
        locale: Any = Locale.parse(code)
        named = {*locale.territories.values(), *locale.languages.values(), *locale.scripts.values()}
        found += [(name, number) for name in sorted(named) if len(name.encode()) < 50]
    told = Counter(name for name, _ in found)
    single = [(name, number) for name, number in found if told[name] == 1]
    random.Random(1).shuffle(single)
    return single


def train(model: Any, tokenizer: Any, rows: Sequence[tuple[str, int]]) -> None:
    model.config.hidden_dropout_prob = 0.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=STEPS)
    draw = random.Random(2)
    for _ in range(STEPS):
        batch = draw.sample(rows, BATCH)
        inputs = tokenizer([text for text, _ in batch], return_tensors="pt", padding=True)
        loss = model(**inputs, labels=torch.tensor([number for _, number in batch])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def load(trained: Trained, engine: str, precision: Precision) -> EncoderModel:
    if engine == "openvino" and find_spec("openvino") is None:
        pytest.skip("an extra: pip install 'textmill-server[openvino]'")
    return EncoderModel.load(
        trained.folder, LoadOptions(device=CPU, engine=engine, precision=precision)
    )


def scores(model: EncoderModel, texts: Sequence[str]) -> torch.Tensor:
    """``[texts, languages]``, as the kind gives them."""
    kind, params, context = Classify(), ClassifyParams(), RunContext(device=CPU)
    state = kind.prepare(model, params, context)
    found = kind.run(model, state, rows_of(texts), params, context)
    named = [
        {item["label"]: item["score"] for item in one.output["labels"]}
        for one in found
        if isinstance(one, Success)
    ]
    assert len(named) == len(texts)
    return torch.tensor([[one[label] for label in LANGUAGES] for one in named])


def test_the_classifier_has_learned_its_task(trained: Trained) -> None:
    """Else what follows would show nothing: most labels are right, most margins wide, and some narrow."""
    right = trained.scores.argmax(dim=1) == torch.tensor(trained.right)
    assert float(right.float().mean()) > 0.8
    best = trained.scores.topk(2, dim=1).values
    narrow = (best[:, 0] - best[:, 1] <= MARGIN).sum()
    assert 1 <= int(narrow) < ROWS / 20


@pytest.mark.parametrize(("engine", "precision", "path"), WAYS)
def test_scores_and_labels(trained: Trained, engine: str, precision: Precision, path: str) -> None:
    model = load(trained, engine, precision)
    found = scores(model, trained.texts)
    facts = model.describe()
    assert (facts["path"], facts["fallbacks"]) == (path, [])
    rounded = facts["precision"] != "fp32"
    differences = (found - trained.scores).abs()
    if not rounded:
        assert float(differences.max()) <= EXACT_SCORE
    assert float(differences.max()) <= MOST_SCORE
    assert float(differences.flatten().quantile(0.99)) <= USUAL_SCORE
    changed = found.argmax(dim=1) != trained.scores.argmax(dim=1)
    best = trained.scores.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > (MARGIN if rounded else 2 * EXACT_SCORE)
    assert not bool((changed & clear).any())
    assert 100 * float(changed.float().mean()) <= MOST_CHANGED


@pytest.mark.parametrize(("engine", "precision", "path"), WAYS)
def test_neighbours_move_no_row(
    trained: Trained, engine: str, precision: Precision, path: str
) -> None:
    """Any rows in any order: each has the scores that it has alone."""
    model = load(trained, engine, precision)
    most = EXACT_SCORE if precision != "bf16" else MOST_SCORE

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=40))
    def check(chosen: list[int]) -> None:
        found = scores(model, [trained.texts[place] for place in chosen])
        assert float((found - trained.scores[chosen]).abs().max()) <= most

    check()
    assert model.describe()["path"] == path
