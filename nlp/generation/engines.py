"""Which engine writes for a model: the one place where they are made from files."""

from __future__ import annotations

from jobs.kinds import LoadOptions
from nlp.generation.checkpoint import Checkpoint
from nlp.generation.engine import GenerationEngine
from nlp.generation.padded import PaddedEngine
from nlp.generation.refill import RefillEngine


def make_engine(checkpoint: Checkpoint, how: LoadOptions) -> GenerationEngine:
    """Load the weights into an engine that suits them.

    Raises:
        JobFailure: ``model_unsupported``, the files do not hold this model.
    """
    padded = PaddedEngine.load(checkpoint, how.device, how.precision)
    return padded if checkpoint.is_seq2seq else RefillEngine.around(padded)
