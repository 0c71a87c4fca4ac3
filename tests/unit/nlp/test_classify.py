"""Classify, against transformers one text at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from jobs.errors import JobFailure
from jobs.kinds import RunContext
from jobs.rows import Outcome, Row, RowFailure, Success
from nlp.encoder import EncoderModel
from nlp.encoders.ways import PackedWay
from nlp.kinds.classify import Classify, ClassifyParams
from tests.unit.nlp.tinymodels import CPU, EXACT, TEXTS, rows_of, save_classifier

KIND = Classify()
TOPICS = ["delivery", "payment", "login problem", "praise"]


def run(model: EncoderModel, params: dict[str, Any], rows: list[Row], context: RunContext) -> Any:
    parsed = ClassifyParams(**params)
    state = KIND.prepare(model, parsed, context)
    return KIND.run(model, state, rows, parsed, context)


def outputs(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    assert all(isinstance(outcome, Success) for outcome in outcomes)
    return [dict(outcome.output) for outcome in outcomes if isinstance(outcome, Success)]


def score_map(output: dict[str, Any]) -> dict[str, float]:
    return {item["label"]: item["score"] for item in output["labels"]}


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("heads")
    save_classifier(root / "topic", TOPICS)
    save_classifier(root / "multi", TOPICS, problem_type="multi_label_classification")
    save_classifier(root / "nli", ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"])
    save_classifier(root / "two_way", ["entailment", "not_entailment"])
    save_classifier(root / "regression", ["score"])
    return root


def reference_logits(folder: Path, *texts: str) -> torch.Tensor:
    """Logits of one text or pair, as plain transformers gives them in fp32."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        inputs = tokenizer(*texts, return_tensors="pt", truncation="only_first", max_length=64)
        logits: torch.Tensor = model(**inputs).logits[0]
    return logits


def test_head_gives_the_scores_of_transformers(heads: Path, context: RunContext) -> None:
    model = KIND.load(heads / "topic", EXACT)
    results = outputs(run(model, {}, rows_of(TEXTS), context))
    for text, result in zip(TEXTS, results, strict=True):
        expected = reference_logits(heads / "topic", text).softmax(dim=0).tolist()
        assert score_map(result) == pytest.approx(
            dict(zip(TOPICS, expected, strict=True)), abs=1e-4
        )
        scores = [item["score"] for item in result["labels"]]
        assert scores == sorted(scores, reverse=True)
        assert result["label"] == result["labels"][0]["label"]
        assert result["score"] == scores[0]
        assert result["method"] == "head"
    assert len({result["score"] for result in results}) == len(TEXTS)


def test_multi_label_heads_score_each_label_by_itself(heads: Path, context: RunContext) -> None:
    model = KIND.load(heads / "multi", EXACT)
    results = outputs(run(model, {}, rows_of(TEXTS), context))
    for text, result in zip(TEXTS, results, strict=True):
        expected = reference_logits(heads / "multi", text).sigmoid().tolist()
        assert score_map(result) == pytest.approx(
            dict(zip(TOPICS, expected, strict=True)), abs=1e-4
        )


@pytest.mark.parametrize("multi_label", [False, True])
def test_nli_scores_are_entailment(heads: Path, context: RunContext, multi_label: bool) -> None:
    model = KIND.load(heads / "nli", EXACT)
    params = {
        "candidate_labels": TOPICS,
        "hypothesis_template": "Is about {}.",
        "multi_label": multi_label,
    }
    results = outputs(run(model, params, rows_of(TEXTS), context))
    for text, result in zip(TEXTS, results, strict=True):
        logits = [reference_logits(heads / "nli", text, f"Is about {topic}.") for topic in TOPICS]
        if multi_label:
            expected = [pair[[0, 2]].softmax(dim=0)[1].item() for pair in logits]
        else:
            expected = torch.stack([pair[2] for pair in logits]).softmax(dim=0).tolist()
        assert score_map(result) == pytest.approx(
            dict(zip(TOPICS, expected, strict=True)), abs=1e-4
        )
        assert result["method"] == "nli"


def test_two_way_nli_heads_work_too(heads: Path, context: RunContext) -> None:
    model = KIND.load(heads / "two_way", EXACT)
    params = {"candidate_labels": TOPICS[:2], "multi_label": True}
    result = outputs(run(model, params, rows_of(TEXTS[:1]), context))[0]
    logits = reference_logits(heads / "two_way", TEXTS[0], "This example is about delivery.")
    assert score_map(result)["delivery"] == pytest.approx(logits.softmax(dim=0)[0].item(), abs=1e-4)


@pytest.fixture(scope="module")
def encoder(minilm: Path) -> EncoderModel:
    return KIND.load(minilm, EXACT)


def reference_embedding(folder: Path, text: str) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    return torch.nn.functional.normalize(states.mean(dim=0), dim=0)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_sentence_encoder_labels_by_likeness(
    minilm: Path, encoder: EncoderModel, context: RunContext, multi_label: bool
) -> None:
    labels = ["a delayed delivery", "a wrong charge"]
    params = {"candidate_labels": labels, "multi_label": multi_label}
    texts = [TEXTS[0], TEXTS[2]]
    results = outputs(run(encoder, params, rows_of(texts), context))
    assert [result["label"] for result in results] == labels
    sentences = [reference_embedding(minilm, f"This example is about {label}.") for label in labels]
    for text, result in zip(texts, results, strict=True):
        embedding = reference_embedding(minilm, text)
        cosines = [float(embedding @ sentence) for sentence in sentences]
        weights = [math.exp(20 * cosine) for cosine in cosines]
        shares = [weight / sum(weights) for weight in weights]
        expected = dict(zip(labels, cosines if multi_label else shares, strict=True))
        assert score_map(result) == pytest.approx(expected, abs=1e-4)
        assert result["method"] == "embedding"


@pytest.mark.parametrize("method", ["topic", "nli", "embedding"])
def test_neighbours_do_not_move_a_row(
    heads: Path, encoder: EncoderModel, context: RunContext, method: str
) -> None:
    model = encoder if method == "embedding" else KIND.load(heads / method, EXACT)
    params = {} if method == "topic" else {"candidate_labels": TOPICS}
    rows = [Row(index, text) for index, text in enumerate([*TEXTS, "word " * 500, "x"])]
    ticks: list[int] = []
    together = outputs(run(model, params, rows, replace(context, tick=ticks.append)))
    assert sum(ticks) == len(rows)
    for row, result in zip(rows, together, strict=True):
        alone = outputs(run(model, params, [row], context))[0]
        assert score_map(alone) == pytest.approx(score_map(result), abs=1e-4)
        assert alone["label"] == result["label"]
        assert (
            alone.get("truncated") is result.get("truncated") is (True if row.index == 7 else None)
        )


def test_usage_counts_the_tokens_that_were_read(encoder: EncoderModel, context: RunContext) -> None:
    params = {"candidate_labels": TOPICS}
    short, long = run(encoder, params, rows_of(["good value", "word " * 500]), context)
    assert short.usage.input_tokens == 4
    assert long.usage.input_tokens == encoder.tokenizer.max_tokens == 256


def test_top_k_and_threshold(encoder: EncoderModel, context: RunContext) -> None:
    labels = [f"thing number {number}" for number in range(12)]
    rows = rows_of(TEXTS[:1])
    assert len(outputs(run(encoder, {"candidate_labels": labels}, rows, context))[0]["labels"]) == 5
    params: dict[str, Any] = {"candidate_labels": labels, "top_k": 12, "threshold": 0.9}
    single = outputs(run(encoder, params, rows, context))[0]
    assert single["label"] is None
    assert len(single["labels"]) == 12
    several = outputs(run(encoder, params | {"multi_label": True}, rows, context))[0]
    assert (several["label"], several["labels"]) == (None, [])
    assert several["score"] > 0


def test_no_rows(encoder: EncoderModel, context: RunContext) -> None:
    assert run(encoder, {"candidate_labels": TOPICS}, [], context) == []


def test_scores_that_are_no_numbers_fail_their_row_only(heads: Path, context: RunContext) -> None:
    model = KIND.load(heads / "topic", EXACT)
    token = model.tokenizer.whole(["Q"])[0].ids[1]
    with torch.no_grad():
        model._model.get_input_embeddings().weight[token] = torch.nan
    bad, good = run(model, {}, rows_of(["Q", TEXTS[1]]), context)
    assert isinstance(bad, RowFailure)
    assert bad.code == "non_finite"
    assert isinstance(good, Success)


@pytest.mark.parametrize(
    ("folder", "params", "code", "message"),
    [
        ("topic", {"candidate_labels": TOPICS}, "invalid_params", "labels of its own"),
        ("regression", {}, "model_unsupported", "predicts a number"),
        (
            "nli",
            {"candidate_labels": ["a " * 90, "b"]},
            "invalid_params",
            "takes more than half",
        ),
    ],
)
def test_parameters_that_do_not_fit_the_model(
    heads: Path, folder: str, params: dict[str, Any], code: str, message: str
) -> None:
    model = KIND.load(heads / folder, EXACT)
    with pytest.raises(JobFailure, match=message) as caught:
        KIND.prepare(model, ClassifyParams(**params), RunContext(device=CPU))
    assert caught.value.failure_code == code


def test_an_encoder_needs_labels(encoder: EncoderModel, context: RunContext) -> None:
    with pytest.raises(JobFailure, match="give `candidate_labels`") as caught:
        KIND.prepare(encoder, ClassifyParams(), context)
    assert caught.value.field == "params.candidate_labels"


def test_a_model_that_writes_cannot_classify(chat_model: Path) -> None:
    with pytest.raises(JobFailure, match="found LlamaForCausalLM") as caught:
        KIND.load(chat_model, EXACT)
    assert caught.value.failure_code == "model_unsupported"


def test_a_head_without_weights_is_refused(minilm: Path, tmp_path: Path) -> None:
    for path in minilm.iterdir():
        if path.is_file() and path.name != "config.json":
            (tmp_path / path.name).symlink_to(path)
    text = (minilm / "config.json").read_text(encoding="utf-8")
    changed = text.replace("BertModel", "BertForSequenceClassification")
    (tmp_path / "config.json").write_text(changed, encoding="utf-8")
    with pytest.raises(JobFailure, match="lack 2 of the model's weights, such as classifier"):
        KIND.load(tmp_path, EXACT)


@pytest.mark.parametrize(
    "params",
    [
        {"candidate_labels": ["one"]},
        {"candidate_labels": ["one", "one "]},
        {"candidate_labels": ["one", "  "]},
        {"candidate_labels": [str(number) for number in range(201)]},
        {"hypothesis_template": "no place"},
        {"hypothesis_template": "{} and {}"},
        {"top_k": 0},
        {"threshold": 1.5},
        {"labels": ["a", "b"]},
    ],
)
def test_bad_parameters_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ClassifyParams(**params)


def test_blank_rows_are_found_while_planning() -> None:
    failure = KIND.check(Row(0, " \n"), ClassifyParams())
    assert failure is not None
    assert failure.code == "empty_text"
    assert KIND.check(Row(0, "text"), ClassifyParams()) is None


def test_an_encoder_out_of_memory_goes_on_in_smaller_batches(
    heads: Path, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = KIND.load(heads / "topic", EXACT)
    rows = rows_of([f"{text} {n}" for n in range(8) for text in TEXTS] + ["far too long " * 20])
    expected = outputs(run(model, {}, rows, context))
    plain, sizes = PackedWay.vectors, list[int]()

    def short(self: PackedWay, batch: Any) -> torch.Tensor:
        sizes.append(sum(map(len, batch)))
        if sizes[-1] > 60:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return plain(self, batch)

    monkeypatch.setattr(PackedWay, "vectors", short)
    *good, last = run(model, {}, rows, context)
    assert isinstance(last, RowFailure)
    assert last.code == "out_of_memory"
    for found, wanted in zip(outputs(good), expected[:-1], strict=True):
        assert score_map(found) == pytest.approx(score_map(wanted), abs=1e-4)
    assert max(sizes) > 60 >= sizes[-1]
    failures = sum(size > 60 for size in sizes)
    assert failures <= 8, "each failure halves"


@pytest.mark.parametrize(
    ("folder", "params"),
    [("topic", {}), ("nli", {"candidate_labels": TOPICS}), (None, {"candidate_labels": TOPICS})],
)
def test_texts_that_were_tokenized_ahead_are_not_tokenized_again(
    heads: Path,
    encoder: EncoderModel,
    context: RunContext,
    folder: str | None,
    params: dict[str, Any],
) -> None:
    model = encoder if folder is None else KIND.load(heads / folder, EXACT)
    parsed, rows = ClassifyParams(**params), rows_of(TEXTS)
    state = KIND.prepare(model, parsed, context)
    expected = KIND.run(model, state, rows, parsed, context)
    made = KIND.ahead(model, state, rows, parsed)

    def again(*_: object) -> Any:
        raise AssertionError("tokenized again")

    with pytest.MonkeyPatch.context() as patch:
        for method in ("whole", "parts"):
            patch.setattr(type(model.tokenizer), method, again)
        found = KIND.run(model, state, rows, parsed, replace(context, ahead=made))
    assert found == expected
