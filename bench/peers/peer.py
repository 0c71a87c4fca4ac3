"""What a peer is: something that is made once and then run over texts again and again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

#: Where each peer is found, as ``module:class``. A module is imported when its peer is loaded, not before.
PEERS: Mapping[str, str] = {
    "handwritten_classifier": "bench.peers.handwritten:HandwrittenClassifier",
    "classification_pipeline": "bench.peers.pipelines:ClassificationPipeline",
    "plain_generator": "bench.peers.generators:PlainGenerator",
    "plain_translator": "bench.peers.translators:PlainTranslator",
    "raw_ctranslate2": "bench.peers.converted:RawCTranslate2",
    "sentence_classifier": "bench.peers.sentences:SentenceClassifier",
    "trainer": "bench.peers.trainers:TrainerClassifier",
}


class Peer(ABC):
    """One way of doing the work. Its constructor takes keyword options, from JSON, and loads the model."""

    def facts(self) -> dict[str, Any]:
        """What it computes with, for the record: versions, number format."""
        return {}

    @abstractmethod
    def run(self, texts: Sequence[str], **options: Any) -> list[Any]:
        """One output for each text, in order, that JSON can hold. This is what is timed."""
