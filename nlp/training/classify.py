"""Learning to classify: an encoder with a head of transformers' own, for one label a text or any number of them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from jobs.errors import JobFailure
from jobs.kinds import LoadOptions, RunContext
from jobs.rows import Row, RowFailure
from nlp.classifiers import prepare_classifier
from nlp.encoder import EncoderModel, has_head, is_encoder, reading_limit
from nlp.encoders.tokenizing import TextTokenizer, Tokens
from nlp.encoders.ways import PaddedWay, padded_inputs
from nlp.evaluation.baselines import majority, majority_sets, tfidf, tfidf_sets
from nlp.evaluation.classification import (
    MAX_LABELS,
    Choice,
    LabelSetTally,
    LabelTally,
    evaluate_label_sets,
    evaluate_labels,
)
from nlp.evaluation.tally import Grouped
from nlp.files import is_adapter, weight_names
from nlp.heads import Head
from nlp.labels import Selection
from nlp.loading import load_config, load_tokenizer, load_weights, quiet
from nlp.training.dropout import set_dropout
from nlp.training.fields import is_multi_label, labels_of
from nlp.training.hyper import Hyper
from nlp.training.lora import save_lora, with_lora
from nlp.training.task import Evaluation, Example, Start, Task

#: Highest learning rate of small encoders (MiniLM, 384 wide); wider ones take smaller steps, in proportion.
_RATE, _RATE_WIDTH = 2e-4, 384
#: An adapter starts from nothing and has few weights: it takes larger steps.
_LORA_RATE = 1e-3
#: Evaluations without a better one after which a training ends.
_PATIENCE = 3
#: Steps below which a head is not learnt, whatever the number of rows, ...
_STEPS = 300
#: ... and how often rows are gone through at least and at most for them.
_EPOCHS = (3, 12)
#: Rows to train on, and the largest batch up to so many; small batches make many steps of few rows.
_BATCHES = ((1_000, 8), (4_000, 16))
_BATCH = 32

#: Score from which on one of several labels holds.
_HOLDS = 0.5
#: Rows that are read and labelled together.
_WINDOW = 512
#: Labels that the data report counts one by one.
_LISTED = 100
#: Most that a rare label weighs against its absence.
_MOST_WEIGHT = 100.0


class ClassifyTask(Task):
    """An encoder and a head over the labels of the rows, or of the model where it has all of them already."""

    metric: ClassVar[str] = "macro_f1"

    def __init__(self, start: Start) -> None:
        if start.base is None:
            raise JobFailure("model_unsupported", "Expected an encoder to start from.")
        if is_adapter(start.base):
            raise JobFailure("model_unsupported", "Expected a whole model, found an adapter.")
        params = self._params = start.params
        self._base, self._reference, self._device = start.base, start.reference, start.device
        self._tick = start.tick
        self._lora = params.method == "lora"
        config = load_config(start.base)
        self.hyper = suited(len(start.rows), _width(config), lora=self._lora).chosen(params)
        if not has_head(config) and not is_encoder(config):
            found = ", ".join(config.architectures or ["none named"])
            raise JobFailure("model_unsupported", f"Expected an encoder, found {found}.")
        self.multi, counts = _count_labels(start.rows)
        self.labels = _labels(config, counts)
        self._places = {label: place for place, label in enumerate(self.labels)}
        self._weights, self._positive = self._class_weights(counts, len(start.rows))
        self._tokenizer = load_tokenizer(start.base)
        if not hasattr(self._tokenizer, "backend_tokenizer"):
            raise JobFailure("model_unsupported", "The model has no tokenizer.json.")
        config.problem_type = (
            "multi_label_classification" if self.multi else "single_label_classification"
        )
        config.id2label = dict(enumerate(self.labels))
        config.label2id = dict(self._places)
        self._dropout = set_dropout(config, self.hyper.dropout)
        self.model = self._load(config)
        limit = reading_limit(start.base, self.model, self._tokenizer)
        self._limit = min(limit, params.max_tokens or limit)
        self._text = TextTokenizer(self._tokenizer, self._limit)
        pad = self._tokenizer.pad_token_id
        self._pad_id = pad if isinstance(pad, int) else 0
        self._takes_types = "token_type_ids" in self._tokenizer.model_input_names

    def example(self, row: Row) -> Example:
        tokens = self._text.whole([row.text])[0]
        target = [self._places[label] for label in labels_of(row)]
        return Example(len(tokens), {"tokens": tokens, "target": target}, tokens.truncated)

    def loss(self, batch: Sequence[Example]) -> tuple[Tensor, int]:
        tokens: list[Tokens] = [example.values["tokens"] for example in batch]
        inputs = padded_inputs(tokens, self._pad_id, takes_types=self._takes_types)
        device = self._device.torch_name
        logits = self.model(**{name: one.to(device) for name, one in inputs.items()}).logits.float()
        smoothing = self.hyper.label_smoothing
        if not self.multi:
            target = torch.tensor([example.values["target"][0] for example in batch], device=device)
            loss = functional.cross_entropy(
                logits, target, self._weights, reduction="sum", label_smoothing=smoothing
            )
            return loss, len(batch)
        held = torch.zeros_like(logits)
        for place, example in enumerate(batch):
            held[place, example.values["target"]] = 1.0
        loss = functional.binary_cross_entropy_with_logits(
            logits,
            held * (1 - smoothing) + smoothing / 2,
            self._weights,
            reduction="sum",
            pos_weight=self._positive,
        )
        return loss / len(self.labels), len(batch)

    def evaluate(self, rows: Sequence[Row]) -> Evaluation:
        way = PaddedWay(self.model, self._pad_id, takes_types=self._takes_types, pooling=None)
        encoder = EncoderModel(
            self.model,
            self._device,
            tokenizer=self._text,
            pooling=None,
            quick=(),
            padded=way,
            reference=lambda: way,
        )
        return self._evaluate(encoder, rows)

    def evaluate_saved(self, folder: Path, rows: Sequence[Row]) -> Evaluation:
        how = LoadOptions(device=self._device, precision=self._params.precision)
        if not self._lora:
            return self._evaluate(EncoderModel.load(folder, how), rows)
        encoder = EncoderModel.load(self._base, how).adapted(folder, self._base)
        encoder.activate()
        return self._evaluate(encoder, rows)

    def baselines(
        self, training: Sequence[Row], rows: Sequence[Row]
    ) -> Mapping[str, Mapping[str, float]]:
        """The most frequent label, and TF-IDF with logistic regression."""
        learnt = [labels_of(row) for row in training]
        gold = [labels_of(row) for row in rows]
        texts = [row.text for row in training]
        asked = [row.text for row in rows]
        found: dict[str, Evaluation] = {}
        if self.multi:
            found["majority"] = evaluate_label_sets(majority_sets(learnt, len(rows)), gold)
        else:
            one = [labels[0] for labels in learnt]
            right = [labels[0] for labels in gold]
            found["majority"] = evaluate_labels(majority(one, len(rows)), right)
        try:
            if self.multi:
                found["tfidf"] = evaluate_label_sets(tfidf_sets(texts, learnt, asked), gold)
            else:
                found["tfidf"] = evaluate_labels(tfidf(texts, one, asked), right)
        except ValueError:
            pass  # no text has a word that it could learn from
        return {name: evaluation.metrics for name, evaluation in found.items()}

    def survey(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        counts = Counter(label for row in rows for label in labels_of(row))
        return {"labels": dict(counts.most_common(_LISTED)), "different_labels": len(counts)}

    def save(self, folder: Path) -> None:
        model: Any = self.model
        config: PretrainedConfig = model.config
        for name, share in self._dropout.items():
            setattr(config, name, share)
        if self._lora:
            save_lora(self.model, folder, self._reference)
            facts = {
                name: getattr(config, name) for name in ("problem_type", "id2label", "label2id")
            }
            (folder / "config.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
            return
        with quiet():
            model.save_pretrained(folder)
        self._tokenizer.model_max_length = self._limit
        self._tokenizer.save_pretrained(folder)

    def _load(self, config: PretrainedConfig) -> Any:
        """The model in fp32, ready to be trained; a head that it has not, or has for other labels, is made."""
        head = Head.of(config)
        has_pooler = any("pooler." in name for name in weight_names(self._base))
        if self._lora and head.reads_pooler and not has_pooler:
            raise JobFailure(
                "model_unsupported",
                "The model was published without its pooler, which an adapter cannot bring along: train it with "
                "method full.",
                field="params.method",
            )
        model = load_weights(
            AutoModelForSequenceClassification,
            self._base,
            config,
            self._device,
            torch.float32,
            may_miss=(*head.names, f"{head.trunk}pooler."),
            ignore_mismatched_sizes=True,
            # On processors the fused kernel's backward pass is the slower one.
            **({"attn_implementation": "eager"} if self._device.type == "cpu" else {}),
        )
        model.requires_grad_(requires_grad=True)
        if self._lora:
            tops = dict.fromkeys(name.partition(".")[0] for name in head.names)
            model = with_lora(model, self._params, heads=list(tops))
        return model

    def _class_weights(
        self, counts: Mapping[str, int], rows: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """Weights of the classes, and for several labels a row those of a label that holds."""
        chosen = self._params.class_weights
        if chosen is None:
            return None, None
        if isinstance(chosen, dict):
            unknown = sorted(set(chosen) - set(self.labels))
            if unknown:
                raise JobFailure(
                    "invalid_params",
                    f"No row has the label {unknown[0]!r}.",
                    field="params.class_weights",
                )
            return self._tensor([chosen.get(label, 1.0) for label in self.labels]), None
        seen = [max(1, counts.get(label, 0)) for label in self.labels]
        if self.multi:
            return None, self._tensor([min(_MOST_WEIGHT, (rows - one) / one) for one in seen])
        return self._tensor([rows / (len(self.labels) * one) for one in seen]), None

    def _tensor(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=self._device.torch_name)

    def _evaluate(self, encoder: EncoderModel, rows: Sequence[Row]) -> Evaluation:
        field = self._params.group_field
        found = self._scores(encoder, rows)
        if self.multi:
            sets: Grouped[Collection[str], Collection[str]] = Grouped(LabelSetTally, field)
            for row, scores in found:
                held = [label for label, score in scores.items() if score >= _HOLDS]
                sets.add(held, labels_of(row), _group(row, field))
            return sets.evaluation()
        tally: Grouped[Choice, str] = Grouped(LabelTally, field)
        for row, scores in found:
            best = max(scores, key=lambda label: scores[label], default=None)
            tally.add(Choice(best, scores), labels_of(row)[0], _group(row, field))
        return tally.evaluation()

    def _scores(
        self, encoder: EncoderModel, rows: Sequence[Row]
    ) -> Iterator[tuple[Row, dict[str, float]]]:
        """Each row with the score of every label; none for a row on which the model failed."""
        context = RunContext(device=self._device, tick=self._tick)
        selection = Selection(multi_label=self.multi, top_k=len(self.labels))
        classifier = prepare_classifier(encoder, None, [], selection, context)
        for begin in range(0, len(rows), _WINDOW):
            window = list(rows[begin : begin + _WINDOW])
            for row, outcome in zip(window, classifier.run(window, context), strict=True):
                listed = [] if isinstance(outcome, RowFailure) else outcome.output["labels"]
                yield row, {entry["label"]: entry["score"] for entry in listed}


def suited(rows: int, width: int, *, lora: bool) -> Hyper:
    """What suits so many rows to train on, and an encoder whose states have this size; see docs/howto/fine-tune.md."""
    batch = next((size for most, size in _BATCHES if rows <= most), _BATCH)
    least, most = _EPOCHS
    return Hyper(
        epochs=min(most, max(least, math.ceil(_STEPS * batch / rows))),
        learning_rate=_LORA_RATE if lora else _RATE * min(1.0, _RATE_WIDTH / width),
        batch_size=batch,
        weight_decay=0.0 if lora else 0.01,
        early_stopping=_PATIENCE,
    )


def _width(config: PretrainedConfig) -> int:
    found = getattr(config, "hidden_size", None) or getattr(config, "dim", None)
    return found if isinstance(found, int) else _RATE_WIDTH


def _count_labels(rows: Sequence[Row]) -> tuple[bool, Counter[str]]:
    """Whether rows have several labels, and how many rows have which."""
    counts: Counter[str] = Counter()
    multi = False
    for row in rows:
        multi = multi or is_multi_label(row)
        counts.update(labels_of(row))
        if len(counts) > MAX_LABELS:
            raise JobFailure(
                "too_many_labels",
                f"Expected at most {MAX_LABELS} different labels: does the field hold free text?",
            )
    if len(counts) < 2:
        only = next(iter(counts), None)
        raise JobFailure(
            "one_class",
            f"Expected at least two different labels, found {'none' if only is None else f'only {only!r}'}.",
        )
    return multi, counts


def _labels(config: PretrainedConfig, counts: Mapping[str, int]) -> list[str]:
    """The model's own labels, where those of the rows are among them: its head is trained further then."""
    own = [str(label) for _, label in sorted((config.id2label or {}).items())]
    if has_head(config) and set(counts) <= set(own) and len(set(own)) == len(own):
        return own
    return sorted(counts)


def _group(row: Row, field: str | None) -> object:
    return None if field is None else row.fields.get(field)
