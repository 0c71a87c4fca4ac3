"""CTranslate2 called by hand, as its documentation has it: its own converter, sentencepiece on both sides."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import sentencepiece
from ctranslate2.converters import TransformersConverter

from bench.peers.peer import Peer


class RawCTranslate2(Peer):
    """A Marian model, converted to int8 by CTranslate2's own converter.

    Args:
        folder: of the model, with ``source.spm`` and ``target.spm`` in it.
        streams: batches translated at a time; the threads are shared out among them.
        threads: in all.
    """

    def __init__(self, folder: str, streams: int, threads: int) -> None:
        make: Any = sentencepiece.SentencePieceProcessor
        self._source = make(model_file=str(Path(folder) / "source.spm"))
        self._target = make(model_file=str(Path(folder) / "target.spm"))
        with tempfile.TemporaryDirectory(prefix="textmill-peer-") as scratch:
            converted = Path(scratch) / "model"
            converter: Any = TransformersConverter(folder)
            converter.convert(str(converted), quantization="int8")
            self._translator = ctranslate2.Translator(
                str(converted),
                device="cpu",
                compute_type="int8",
                inter_threads=streams,
                intra_threads=max(1, threads // streams),
            )

    def facts(self) -> dict[str, Any]:
        return {
            "ctranslate2": ctranslate2.__version__,
            "compute_type": self._translator.compute_type,
        }

    def run(self, texts: Sequence[str], **options: Any) -> list[Any]:
        """Options: ``batch_tokens``, ``max_new_tokens`` and ``num_beams``."""
        pieces = self._source.encode(list(texts), out_type=str)
        results = self._translator.translate_batch(
            [[*some, "</s>"] for some in pieces],
            max_batch_size=options["batch_tokens"],
            batch_type="tokens",
            beam_size=options["num_beams"],
            max_decoding_length=options["max_new_tokens"],
        )
        written = [result.hypotheses[0] for result in results]
        decoded = self._target.decode(written)
        return [
            # Pieces that are in the vocabulary alone come back with their mark.
            {"text": text.replace("\u2581", " "), "tokens": len(some)}
            for text, some in zip(decoded, written, strict=True)
        ]
