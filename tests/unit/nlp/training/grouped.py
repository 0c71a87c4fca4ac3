"""Trainings by the processes of a group of processors, as workers start them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from jobs.training import INPUT
from nlp.training.process import TrainingTask
from tests.unit.nlp.tinymodels import CPU
from tests.unit.nlp.training.runs import Trained, write_rows
from workers.training_child import TrainingChild

#: The words that a training ends with.
LAST = frozenset({"result", "failure", "stopped", "died"})


class Grouped(Trained):
    """A training on two processors, and what it told. Checkpoints are kept aside as they come."""

    kind: str = "nlp.kinds.fine_tune:FineTune"

    def end(
        self,
        *,
        resume: Path | None = None,
        meanwhile: Callable[[list[psutil.Process], Mapping[str, Any]], None] = lambda *_: None,
    ) -> Mapping[str, Any]:
        """Train, and return the last word.

        Args:
            meanwhile: called with the processes and each event.

        Raises:
            TrainingDied: there is none.
        """
        for name in ("product", "scratch", "kept"):
            (self.folder / name).mkdir(parents=True)
        task = TrainingTask(
            kind=self.kind,
            params={"output_name": "tuned", **self.params},
            device=CPU.joined([CPU]),
            base=None if self.base is None else str(self.base),
            reference=self.reference,
            data={INPUT: str(write_rows(self.folder / "input.jsonl", self.rows))},
            source="job:1",
            product=str(self.product),
            scratch=str(self.folder / "scratch"),
            resume=None if resume is None else str(resume),
        )
        with TrainingChild(task) as child:
            while True:
                for message in child.messages(0.5):
                    if not LAST.isdisjoint(message):
                        return message
                    self._keep(message)
                    one = psutil.Process(child.pid)
                    meanwhile([one, *one.children()], message)

    def checkpoints(self) -> list[Path]:
        """In order of steps."""
        return [Path(one["folder"]) for one in self.told("checkpoint")]

    def _keep(self, message: dict[str, Any]) -> None:
        if message["event"] == "checkpoint":
            kept = self.folder / "kept" / str(message["step"])
            shutil.move(message["folder"], kept)
            message["folder"] = str(kept)
        self.events.append(message)
