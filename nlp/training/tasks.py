"""The tasks by name."""

from __future__ import annotations

from nlp.generation.checkpoint import Checkpoint
from nlp.training.causal import CausalTask
from nlp.training.classify import ClassifyTask
from nlp.training.language import CausalLanguageTask, MaskedLanguageTask, is_masked
from nlp.training.learner import base_files
from nlp.training.seq2seq import Seq2SeqTask
from nlp.training.task import Start, Task


def make_task(start: Start) -> Task:
    """The task that the parameters name, over its model.

    Raises:
        JobFailure: model, data and parameters do not fit.
    """
    if start.params.task == "classify":
        return ClassifyTask(start)
    files = base_files(start)
    if start.params.task == "language_model" and is_masked(files):
        return MaskedLanguageTask(start, files)
    checkpoint = Checkpoint.read(files)
    if start.params.task == "language_model":
        return CausalLanguageTask(start, checkpoint)
    return (
        Seq2SeqTask(start, checkpoint) if checkpoint.is_seq2seq else CausalTask(start, checkpoint)
    )
