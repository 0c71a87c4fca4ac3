"""sentence-transformers, labelling by the likeness of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sentence_transformers
from sentence_transformers import SentenceTransformer

from bench.peers.peer import Peer


class SentenceClassifier(Peer):
    """``encode`` for texts and labels' sentences, then the nearest label by cosine.

    Args:
        folder: of the encoder.
        labels: to choose from.
        sentences: one for each label.
        batch_size: as ``encode`` takes it.
    """

    def __init__(
        self, folder: str, labels: Sequence[str], sentences: Sequence[str], batch_size: int = 32
    ) -> None:
        self._model = SentenceTransformer(folder)
        self._labels = list(labels)
        self._sentences = list(sentences)
        self._batch_size = batch_size

    def facts(self) -> dict[str, Any]:
        return {"sentence-transformers": sentence_transformers.__version__}

    def run(self, texts: Sequence[str], **options: Any) -> list[Any]:
        labels = self._encode(self._sentences)
        cosines = self._encode(texts) @ labels.T
        best = cosines.argmax(dim=1).tolist()
        return [{"label": self._labels[place]} for place in best]

    def _encode(self, texts: Sequence[str]) -> Any:
        return self._model.encode(
            list(texts),
            batch_size=self._batch_size,
            convert_to_tensor=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
