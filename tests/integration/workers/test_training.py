"""How a training goes through planner, worker and finalizer, whatever is killed, full or away."""

from __future__ import annotations

from jobs.states import Status
from tests.integration.workers.trainings import REFERENCE, TEXTS, Trainings
from tests.plugins.sums_kind import expected_state


def test_a_training_from_start_to_end(trainings: Trainings) -> None:
    job = trainings.submit(steps=20)
    trainings.shop.run(job)
    record = trainings.shop.record(job)
    assert (record.status, record.total, record.completed) == (Status.COMPLETED, 1, 1)
    assert trainings.state(job) == expected_state(TEXTS, 20, REFERENCE)
    assert record.training is not None
