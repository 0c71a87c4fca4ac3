"""The three ways in which a loaded encoder labels texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tokenizers import Encoding
from torch import Tensor
from transformers import PretrainedConfig

from jobs.errors import JobFailure
from jobs.kinds import RunContext
from jobs.rows import Outcome, Row, RowFailure, Success, Usage
from nlp.batching import TokenBudget, run_batches
from nlp.encoder import EncoderModel, finite_rows
from nlp.encoders.tokenizing import Tokens
from nlp.labels import Method, Selection, entailment_scores

#: Padded tokens of a batch, by type of device.
_BUDGET = {"cpu": 4096, "cuda": 65_536}
#: Cosines are multiplied by this before the softmax, that is a temperature of 0.05: the scale that
#: sentence encoders of this family are trained with (sentence-transformers, MultipleNegativesRankingLoss).
_COSINE_SCALE = 20.0

#: Rows of a window whose pairs show whether a quick way of computing is right.
_SETTLING_ROWS = 8


class Classifier(ABC):
    """A model together with a job's labels; what the kind's ``prepare`` makes."""

    method: Method

    def __init__(
        self, model: EncoderModel, labels: Sequence[str], selection: Selection, context: RunContext
    ) -> None:
        self.model = model
        self.labels = list(labels)
        self.selection = selection
        self.budget = TokenBudget(_BUDGET[context.device.type])

    def tokens(self, rows: Sequence[Row]) -> list[Any]:
        """The rows as :meth:`run` reads them; it finds them in its context, or asks for them itself."""
        return self.model.tokenizer.whole([row.text for row in rows])

    @abstractmethod
    def run(self, rows: Sequence[Row], context: RunContext) -> list[Outcome]:
        """One outcome for each row, in order."""

    def _success(self, scores: Sequence[float], tokens: int, *, truncated: bool) -> Success:
        output = self.selection.output(self.labels, scores, self.method)
        if truncated:
            output["truncated"] = True
        return Success(output, Usage(input_tokens=tokens))

    def _run_texts(
        self,
        rows: Sequence[Row],
        context: RunContext,
        scores: Callable[[Tensor], Tensor],
    ) -> list[Outcome]:
        """Run each text by itself: ``scores`` makes of the texts' vectors one score a label."""
        tokens: list[Tokens] = context.ahead or self.tokens(rows)
        self.model.settle(tokens)
        way = self.model.way

        def compute(batch: Sequence[int]) -> list[Outcome]:
            vectors = way.vectors([tokens[position] for position in batch])
            values = scores(vectors).tolist()
            return [
                self._success(
                    values[place], len(tokens[position]), truncated=tokens[position].truncated
                )
                if good
                else non_finite()
                for place, (position, good) in enumerate(
                    zip(batch, finite_rows(vectors), strict=True)
                )
            ]

        lengths = [len(row) for row in tokens]
        return run_batches(
            lengths,
            compute,
            self.budget,
            lambda done: context.tick(len(done)),
            at_once=way.at_once,
        )


class HeadClassifier(Classifier):
    """The head that the model was trained with, over the labels it was trained for."""

    method = "head"

    def __init__(self, model: EncoderModel, selection: Selection, context: RunContext) -> None:
        super().__init__(model, _head_labels(model), selection, context)

    def run(self, rows: Sequence[Row], context: RunContext) -> list[Outcome]:
        squash = torch.sigmoid if self.selection.multi_label else _softmax
        return self._run_texts(rows, context, squash)


class EmbeddingClassifier(Classifier):
    """Cosine between the embedding of a text and those of the labels' sentences.

    One label: softmax of the cosines at a temperature of 0.05. Several: each cosine by itself, negative
    ones as 0.
    """

    method = "embedding"

    def __init__(
        self,
        model: EncoderModel,
        labels: Sequence[str],
        sentences: Sequence[str],
        selection: Selection,
        context: RunContext,
    ) -> None:
        super().__init__(model, labels, selection, context)
        tokens = model.tokenizer.whole(sentences)
        model.settle(tokens)
        embeddings = run_batches(
            [len(row) for row in tokens],
            lambda batch: list(model.way.vectors([tokens[position] for position in batch])),
            self.budget,
            lambda _: context.tick(0),
        )
        failed = next((item for item in embeddings if isinstance(item, RowFailure)), None)
        if failed is not None:
            raise JobFailure("invalid_params", failed.message, field="params.candidate_labels")
        self._embeddings = torch.stack([item for item in embeddings if isinstance(item, Tensor)])

    def run(self, rows: Sequence[Row], context: RunContext) -> list[Outcome]:
        return self._run_texts(rows, context, self._scores)

    def _scores(self, vectors: Tensor) -> Tensor:
        cosines = vectors @ self._embeddings.T
        if self.selection.multi_label:
            return cosines.clamp(0.0, 1.0)
        return _softmax(cosines * _COSINE_SCALE)


class NliClassifier(Classifier):
    """Whether the text entails a sentence about each label."""

    method = "nli"

    def __init__(
        self,
        model: EncoderModel,
        labels: Sequence[str],
        sentences: Sequence[str],
        selection: Selection,
        context: RunContext,
    ) -> None:
        super().__init__(model, labels, selection, context)
        places = _nli_places(model.config)
        if places is None:
            raise ValueError("expected a model with entailment and contradiction labels")
        self._entailment, self._contradiction = places
        self._hypotheses = model.tokenizer.parts(sentences)
        longest = max(range(len(labels)), key=lambda place: len(self._hypotheses[place]))
        if len(self._hypotheses[longest]) > model.tokenizer.max_tokens // 2:
            raise JobFailure(
                "invalid_params",
                f"The sentence for label {labels[longest][:60]!r} takes more than half of the "
                f"{model.tokenizer.max_tokens} tokens that the model can read.",
                field="params.candidate_labels",
            )

    def tokens(self, rows: Sequence[Row]) -> list[Encoding]:
        return self.model.tokenizer.parts([row.text for row in rows])

    def run(self, rows: Sequence[Row], context: RunContext) -> list[Outcome]:
        premises: list[Encoding] = context.ahead or self.tokens(rows)
        width = len(self.labels)
        unfinished = [width] * len(rows)
        tokens = [0] * len(rows)
        truncated = [False] * len(rows)

        def compute(batch: Sequence[int]) -> list[tuple[float, float] | RowFailure]:
            # Pairs are joined here, a batch at a time: all pairs of a window would fill the memory.
            pairs = [
                self.model.tokenizer.pair(premises[place // width], self._hypotheses[place % width])
                for place in batch
            ]
            for place, pair in zip(batch, pairs, strict=True):
                truncated[place // width] |= pair.truncated
            logits = self.model.way.vectors(pairs)
            entails = logits[:, self._entailment].tolist()
            contradicts = logits[:, self._contradiction].tolist()
            return [
                (entails[place], contradicts[place]) if good else non_finite()
                for place, good in enumerate(finite_rows(logits))
            ]

        def done(batch: Sequence[int]) -> None:
            for place in batch:
                unfinished[place // width] -= 1
            # A row whose last pair was in this batch is counted once, whichever pair that was.
            finished = {place // width for place in batch if unfinished[place // width] == 0}
            context.tick(len(finished))

        lengths = []
        for row, premise in enumerate(premises):
            ofrow = [
                self.model.tokenizer.pair_length(premise, hypothesis)
                for hypothesis in self._hypotheses
            ]
            tokens[row] = sum(ofrow)
            lengths += ofrow
        self.model.settle(
            [
                self.model.tokenizer.pair(premise, hypothesis)
                for premise in premises[:_SETTLING_ROWS]
                for hypothesis in self._hypotheses[:2]
            ]
        )
        pairs = run_batches(lengths, compute, self.budget, done)
        outcomes: list[Outcome] = []
        for row in range(len(rows)):
            logits: list[tuple[float, float]] = []
            failure: RowFailure | None = None
            for item in pairs[row * width : (row + 1) * width]:
                if isinstance(item, RowFailure):
                    failure = item
                else:
                    logits.append(item)
            if failure is not None:
                outcomes.append(failure)
                continue
            scores = entailment_scores(
                [pair[0] for pair in logits],
                [pair[1] for pair in logits],
                multi_label=self.selection.multi_label,
            )
            outcomes.append(self._success(scores, tokens[row], truncated=truncated[row]))
        return outcomes


def prepare_classifier(
    model: EncoderModel,
    candidate_labels: Sequence[str] | None,
    sentences: Sequence[str],
    selection: Selection,
    context: RunContext,
) -> Classifier:
    """The way of classifying that fits the model and the parameters.

    Args:
        candidate_labels: the job's own labels, or None for those of the model's head.
        sentences: for each candidate label the sentence that says it.

    Raises:
        JobFailure: ``invalid_params``, model and parameters do not fit.
    """
    has_head = model.pooling is None
    if candidate_labels is None:
        if has_head:
            return HeadClassifier(model, selection, context)
        raise JobFailure(
            "invalid_params",
            "The model is an encoder without a classification head: give `candidate_labels`, or use a "
            "fine-tuned model.",
            field="params.candidate_labels",
        )
    if not has_head:
        return EmbeddingClassifier(model, candidate_labels, sentences, selection, context)
    if _nli_places(model.config) is None:
        own = ", ".join(str(label) for label in list(model.config.label2id or ())[:10])
        raise JobFailure(
            "invalid_params",
            f"The model has a head with labels of its own ({own}): leave `candidate_labels` out, or use "
            "an NLI model or a sentence encoder.",
            field="params.candidate_labels",
        )
    return NliClassifier(model, candidate_labels, sentences, selection, context)


def non_finite() -> RowFailure:
    """The failure of a row whose scores overflowed."""
    return RowFailure(
        "non_finite", "The model's scores for this row are not finite; `precision: exact` may help."
    )


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


def _head_labels(model: EncoderModel) -> list[str]:
    names = {int(place): name for place, name in (model.config.id2label or {}).items()}
    count = model.config.num_labels or 0
    if count < 2 or model.config.problem_type == "regression":
        raise JobFailure(
            "model_unsupported",
            "The model's head predicts a number, not classes: classify needs at least two labels.",
        )
    return [str(names.get(place, f"LABEL_{place}")) for place in range(count)]


def _nli_places(config: PretrainedConfig) -> tuple[int, int] | None:
    """Places of entailment and of its opposite among the logits; None when this is no NLI head.

    Two-way heads (`entailment`, `not_entailment`) have the other label for an opposite.
    """
    places = {str(label).lower(): int(place) for label, place in (config.label2id or {}).items()}
    for_it = [place for label, place in places.items() if label.startswith("entail")]
    against = [place for label, place in places.items() if label.startswith("contra")]
    if len(places) == 2 and not against:
        against = [place for label, place in places.items() if not label.startswith("entail")]
    return (for_it[0], against[0]) if len(for_it) == len(against) == 1 else None
