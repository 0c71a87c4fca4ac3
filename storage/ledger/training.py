"""Trainings in the ledger: how far they are, and which deaths count."""

from __future__ import annotations

from typing import Any

import orjson

from jobs.ranges import RowRange
from storage.ledger.ranges import Answer
from storage.ledger.scripts import LedgerClient


class TrainingTable:
    """What only jobs have whose kind trains. All of it needs the lease on the job's only range."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client

    def show(self, job_id: str, rows: RowRange, token: str, training: dict[str, Any]) -> Answer:
        """Say how far the training is, for the job's ``training`` block: ``ok`` or ``lost``."""
        # Numbers that are not finite become null: readers of JSON do not know them.
        block = orjson.dumps(training)
        # Whoever follows the events has the curve's points from them.
        told = orjson.dumps({name: training[name] for name in training if name != "curve"})
        return Answer(self._client.call("train_show", job_id, str(rows), token, block, told))

    def forgive(self, job_id: str, rows: RowRange, token: str, step: int) -> int | None:
        """Forgive the deaths from before a newer checkpoint; how many count from now on.

        Args:
            step: of the newest checkpoint that lies whole in the store; 0 where there is none.

        Returns:
            None where the lease is somebody else's.
        """
        answer, deaths = self._client.call("train_forgive", job_id, str(rows), token, step)
        return int(deaths) if answer == Answer.OK else None
