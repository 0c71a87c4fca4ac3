"""The tasks by name."""

from __future__ import annotations

from jobs.errors import JobFailure
from nlp.training.classify import ClassifyTask
from nlp.training.task import Start, Task


def make_task(start: Start) -> Task:
    """The task that the parameters name, over its model.

    Raises:
        JobFailure: model, data and parameters do not fit.
    """
    if start.params.task == "classify":
        return ClassifyTask(start)
    raise JobFailure(
        "invalid_params",
        f"This version cannot train for {start.params.task}.",
        field="params.task",
    )
