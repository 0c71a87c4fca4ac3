"""Learning to write: what encoder-decoders and decoders have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.kinds import LoadOptions, RunContext
from jobs.rows import Row
from nlp.evaluation.baselines import copied, lead_sentences
from nlp.evaluation.tally import Grouped
from nlp.evaluation.texts import TextTally
from nlp.generation.checkpoint import Checkpoint
from nlp.generation.model import GeneratorModel
from nlp.generation.padded import PaddedEngine
from nlp.training.asking import make_asker, written
from nlp.training.hyper import Hyper
from nlp.training.learner import Learner, summed_loss
from nlp.training.task import Evaluation, Example, Start, Task

#: Rows that are written together.
_WINDOW = 128
#: Rows of a batch whose loss is measured.
_BATCH = 32


class GeneratingTask(Task):
    """``summarize`` or ``translate`` with a model that writes."""

    #: Rows that are written to see how far a training has come, spread over all: writing takes longer than learning.
    watched: int

    def __init__(self, start: Start, checkpoint: Checkpoint, hyper: Hyper) -> None:
        self.metric = "chrf" if start.params.task == "translate" else "rouge_l"  # type: ignore[misc]
        self.hyper = hyper.chosen(start.params)
        self._start = start
        self._checkpoint = checkpoint
        self._learner = Learner(
            start, checkpoint.files, checkpoint.config, checkpoint.auto_class, self.hyper.dropout
        )
        self.model = self._learner.model
        self._writer = self._writing(self._learner.network)
        self._asker = make_asker(self._writer, start)
        self._context = RunContext(device=start.device, tick=start.tick)

    @abstractmethod
    def scores(self, batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Scores ``[tokens, vocabulary]`` of all tokens of the targets, and which tokens these are."""

    def loss(self, batch: Sequence[Example]) -> tuple[Tensor, int]:
        logits, targets = self.scores(batch)
        return summed_loss(logits, targets, self.hyper.label_smoothing), len(targets)

    def evaluate(self, rows: Sequence[Row]) -> Evaluation:
        """Texts of some of the rows, and ``loss`` in nats for each token of their targets."""
        some = rows[:: max(1, -(-len(rows) // self.watched))]
        self.model.eval()
        found = self._measure(self._writer, some)
        return Evaluation({**found.metrics, "loss": self._loss_of(some)}, found.details)

    def evaluate_saved(self, folder: Path, rows: Sequence[Row]) -> Evaluation:
        how = LoadOptions(device=self._start.device, precision=self._start.params.precision)
        if self._start.params.method == "full":
            return self._measure(GeneratorModel.load(folder, how), rows)
        model = GeneratorModel.load(self._learner.files, how).adapted(folder, self._learner.files)
        model.activate()
        return self._measure(model, rows)

    def baselines(
        self, training: Sequence[Row], rows: Sequence[Row]
    ) -> Mapping[str, Mapping[str, float]]:
        """The text itself or its first sentence, and the model as it was."""
        if self._start.params.task == "translate":
            found = {"copy": self._compare(rows, (copied([row.text])[0] for row in rows))}
        else:
            found = {"lead": self._compare(rows, (lead_sentences([row.text])[0] for row in rows))}
        if not self._learner.is_scratch:
            with self._learner.untuned() as network:
                found["untuned"] = self._measure(self._writing(network), rows)
        return {name: evaluation.metrics for name, evaluation in found.items()}

    def save(self, folder: Path) -> None:
        self._learner.save(folder, self._checkpoint.tokenizer)

    def keep(self, folder: Path) -> None:
        self._learner.keep(folder)

    def _writing(self, network: Any) -> GeneratorModel:
        """A model in memory as one that jobs can run."""
        engine = PaddedEngine(network, self._checkpoint, self._start.device)
        return GeneratorModel(self._checkpoint, engine)

    def _measure(self, model: GeneratorModel, rows: Sequence[Row]) -> Evaluation:
        def texts() -> Iterable[str]:
            for begin in range(0, len(rows), _WINDOW):
                window = list(rows[begin : begin + _WINDOW])
                for outcome in self._asker.run(model, window, self._context):
                    yield written(outcome, self._asker.field)

        return self._compare(rows, texts())

    def _compare(self, rows: Sequence[Row], texts: Iterable[str]) -> Evaluation:
        route, field = self._asker.route, self._start.params.group_field
        language = route.target.tag if route else None
        tally = Grouped(lambda: TextTally(language), field)
        for row, text in zip(rows, texts, strict=True):
            tally.add(text, str(row.fields["target"]), row.fields.get(field) if field else None)
        return tally.evaluation()

    def _loss_of(self, rows: Sequence[Row]) -> float:
        total = 0.0
        count = 0
        with torch.inference_mode():
            for begin in range(0, len(rows), _BATCH):
                batch = [self.example(row) for row in rows[begin : begin + _BATCH]]
                logits, targets = self.scores(batch)
                total += float(summed_loss(logits, targets))
                count += len(targets)
                self._start.tick(len(batch))
        return total / max(1, count)
