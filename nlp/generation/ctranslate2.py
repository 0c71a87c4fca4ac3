"""CTranslate2: encoder-decoders and decoders of the common families, rounded only where that costs little."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import torch

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import LoadOptions
from jobs.rows import RowFailure
from nlp.batching import TokenBudget, run_batches
from nlp.generation.checkpoint import Checkpoint
from nlp.generation.conversion import compute_type, converted
from nlp.generation.decoding import Decoding, Prompt, Written
from nlp.generation.engine import Done, GenerationEngine, alike
from nlp.generation.honoured import unhonoured

#: Padded tokens of a batch, answers included and times the number of beams, by type of device.
_BUDGET = {"cpu": 4096, "cuda": 65_536}
#: Rows of a batch, by type of device.
_MAX_ROWS = {"cpu": 32, "cuda": 256}
#: Batches computed side by side on a CPU, at most; each gets its share of the threads. Threads that share nothing
#: beat threads that split one small matrix product: on two cores by a third.
_MOST_STREAMS = 4
#: A sequence that may not occur twice under ``Decoding.no_loops``, in tokens.
_LOOP = 6
#: How much of the probability goes to a forced beginning while beams are searched: as good as all of it. CTranslate2's
#: own way to force one takes back answers that end right behind it, which transformers weighs like others.
_CERTAIN = 0.9999999
#: Our names of CTranslate2's formats.
_PRECISIONS = {
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "int8_float32": "int8",
    "int8_float16": "int8",
    "int8_bfloat16": "int8",
}


class CTranslate2Engine(GenerationEngine):
    """A converted model and batches of prompts of like length."""

    name = "ctranslate2"

    def __init__(self, checkpoint: Checkpoint, writer: _Writer, device: Device, size: int) -> None:
        self._checkpoint = checkpoint
        self._writer = writer
        self._size = size
        self._budget = TokenBudget(_BUDGET[device.type], _MAX_ROWS[device.type])

    @classmethod
    def load(cls, checkpoint: Checkpoint, how: LoadOptions) -> CTranslate2Engine:
        """Load the weights, converted before or now.

        Raises:
            JobFailure: ``engine_unsupported``, CTranslate2 cannot run this model on this device.
        """
        writer = _Translator if checkpoint.is_seq2seq else _Generator
        with converted(checkpoint, how) as folder:
            size = sum(path.stat().st_size for path in folder.glob("model.bin"))
            weights = compute_type(checkpoint.config.model_type, how)
            return cls(checkpoint, writer(folder, how.device, weights), how.device, size)

    @property
    def precision(self) -> str:
        return _PRECISIONS[self._writer.compute_type]

    @property
    def architecture(self) -> str:
        return str((self._checkpoint.config.architectures or ["unknown"])[0])

    @property
    def memory_bytes(self) -> int:
        return self._size

    def check(self, decoding: Decoding) -> None:
        self._check(decoding, 0)

    def _check(self, decoding: Decoding, forced: int) -> None:
        """As :meth:`check` does, for answers that begin with so many forced tokens."""
        reason = unhonoured(
            self._checkpoint.generation,
            decoding,
            beams=self._beams(decoding),
            seq2seq=self._checkpoint.is_seq2seq,
            ends=len(self._checkpoint.ends),
            forced=forced,
            exact=self.precision == "fp32",
        )
        if reason is not None:
            raise JobFailure(
                "engine_unsupported",
                f"CTranslate2 cannot write for this job: {reason}.",
                field="params.engine",
            )

    def write(self, prompts: Sequence[Prompt], done: Done) -> list[Written | RowFailure]:
        results: dict[int, Written | RowFailure] = {}
        for (decoding, forced), group in alike(prompts).items():
            self._check(decoding, len(forced))
            results.update(self._write_alike(prompts, group, decoding, forced, done))
        return [results[position] for position in range(len(prompts))]

    def _write_alike(
        self,
        prompts: Sequence[Prompt],
        group: Sequence[int],
        decoding: Decoding,
        forced: tuple[int, ...],
        done: Done,
    ) -> dict[int, Written | RowFailure]:
        beams = self._beams(decoding)
        room = decoding.max_tokens + len(forced)
        options = self._options(decoding, forced)
        prefix = self._prefix(forced)
        if prefix and beams > 1:
            options |= {"prefix_bias_beta": _CERTAIN, "min_decoding_length": len(prefix)}
        made = run_batches(
            [(len(prompts[position]) + room) * beams for position in group],
            lambda batch: self._batch(
                [prompts[group[place]] for place in batch], decoding, forced, options
            ),
            self._budget,
            lambda batch: done([group[place] for place in batch]),
            at_once=self._writer.streams,
        )
        return dict(zip(group, made, strict=True))

    def _batch(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        forced: tuple[int, ...],
        options: dict[str, Any],
    ) -> list[Written | RowFailure]:
        made = self._writer.write([prompt.ids for prompt in prompts], self._prefix(forced), options)
        return [self._written(ids[len(forced) :], decoding) for ids in made]

    def _written(self, ids: list[int], decoding: Decoding) -> Written:
        ends = self._checkpoint.ends
        end = next((place for place, token in enumerate(ids) if token in ends), None)
        # A closing token that is forced upon the last place closes the answer, however it stands.
        closed = end is not None or self._forced_end() is not None
        return Written(ids[:end], cut=not closed and len(ids) >= decoding.max_tokens)

    def _beams(self, decoding: Decoding) -> int:
        return decoding.num_beams or self._checkpoint.own_beams

    def _forced_end(self) -> int | None:
        token: int | None = self._checkpoint.generation.forced_eos_token_id
        return token

    def _prefix(self, forced: tuple[int, ...]) -> list[int]:
        """How every answer begins: as the job says, else as the model's configuration does."""
        own = self._checkpoint.generation.forced_bos_token_id
        if forced or own is None or not self._checkpoint.is_seq2seq:
            return list(forced)
        return [own]

    def _options(self, decoding: Decoding, forced: tuple[int, ...]) -> dict[str, Any]:
        """The search: the model's own settings, with the lengths and the choice of ours."""
        own = self._checkpoint.generation
        grams = [own.no_repeat_ngram_size or 0, _LOOP if decoding.no_loops else 0]
        banned = [*(own.bad_words_ids or ()), *([token] for token in own.suppress_tokens or ())]
        ends = self._checkpoint.ends
        # A forced closing token takes the last place.
        most = decoding.max_tokens + len(forced) - (self._forced_end() is not None)
        return {
            "beam_size": self._beams(decoding),
            # transformers ends a search when enough beams are finished (early_stopping), which is what CTranslate2
            # does too, or goes on while a better one seems possible: for that twice as many are waited for, which is
            # about as good and not the same.
            "patience": 1.0 if own.early_stopping else 2.0,
            "length_penalty": 1.0 if own.length_penalty is None else own.length_penalty,
            "no_repeat_ngram_size": min((size for size in grams if size), default=0),
            "suppress_sequences": [
                [str(token) for token in sequence]
                for sequence in banned
                if not (len(sequence) == 1 and sequence[0] in ends)
            ]
            or None,
            "end_token": sorted(ends),
            "return_end_token": True,
            **self._writer.lengths(
                max(1, most), decoding.min_tokens + len(forced) if decoding.min_tokens else 0
            ),
        }


class _Writer(ABC):
    """One of CTranslate2's two ways to write. Safe to use from as many threads as it has streams."""

    def __init__(self, folder: Path, device: Device, weights: str) -> None:
        on_cpu = device.type == "cpu"
        threads = torch.get_num_threads()
        inside = min(threads, _MOST_STREAMS) if on_cpu else 1
        #: Batches to hand over at once: on a GPU one computes and one waits.
        self.streams = inside if on_cpu else 2
        self.compute_type = weights
        try:
            self._model = self._load(
                str(folder),
                device=device.type,
                compute_type=weights,
                inter_threads=inside,
                intra_threads=max(1, threads // inside) if on_cpu else 0,
            )
        finally:
            # Loading leaves its share of the threads behind as what this thread's OpenMP may use: whatever is loaded
            # or computed after it, by torch too, would run on one core.
            torch.set_num_threads(threads)

    @abstractmethod
    def _load(self, folder: str, **options: Any) -> Any:
        """CTranslate2's object."""

    @abstractmethod
    def lengths(self, most: int, least: int) -> dict[str, int]:
        """Options that bound the number of new tokens, forced ones included."""

    @abstractmethod
    def write(
        self, prompts: list[list[int]], prefix: list[int], options: dict[str, Any]
    ) -> list[list[int]]:
        """New tokens of each prompt: forced ones and the closing one among them."""


class _Translator(_Writer):
    """Encoder-decoders."""

    def _load(self, folder: str, **options: Any) -> Any:
        return ctranslate2.Translator(folder, **options)

    def lengths(self, most: int, least: int) -> dict[str, int]:
        return {"max_decoding_length": most, "min_decoding_length": least, "max_input_length": 0}

    def write(
        self, prompts: list[list[int]], prefix: list[int], options: dict[str, Any]
    ) -> list[list[int]]:
        begun = [[str(token) for token in prefix]] * len(prompts) if prefix else None
        results = self._model.translate_batch(
            [[str(token) for token in prompt] for prompt in prompts], begun, **options
        )
        return [[int(token) for token in result.hypotheses[0]] for result in results]


class _Generator(_Writer):
    """Decoders."""

    def _load(self, folder: str, **options: Any) -> Any:
        return ctranslate2.Generator(folder, **options)

    def lengths(self, most: int, least: int) -> dict[str, int]:
        return {"max_length": most, "min_length": least}

    def write(
        self, prompts: list[list[int]], prefix: list[int], options: dict[str, Any]
    ) -> list[list[int]]:
        results = self._model.generate_batch(
            [[str(token) for token in prompt] for prompt in prompts],
            include_prompt_in_result=False,
            **options,
        )
        return [list(result.sequences_ids[0]) for result in results]
