"""Which engine writes for a model: the one place where they are made from files."""

from __future__ import annotations

from jobs.kinds import REFERENCE, LoadOptions
from nlp.generation.checkpoint import Checkpoint
from nlp.generation.engine import GenerationEngine
from nlp.generation.padded import PaddedEngine
from nlp.generation.refill import RefillEngine


def make_engine(checkpoint: Checkpoint, how: LoadOptions) -> GenerationEngine:
    """Load the weights into an engine that suits them.

    Raises:
        JobFailure: ``model_unsupported``, the files do not hold this model; ``engine_unsupported``, the engine
            that is asked for cannot run it.
    """
    if how.engine == "ctranslate2":
        from nlp.generation.ctranslate2 import CTranslate2Engine  # noqa: PLC0415  (slow to import)

        return CTranslate2Engine.load(checkpoint, how)
    padded = PaddedEngine.load(checkpoint, how.device, how.precision)
    plain = checkpoint.is_seq2seq or how.engine == REFERENCE
    return padded if plain else RefillEngine.around(padded)
