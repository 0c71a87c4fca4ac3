"""Learning a language or the jargon of a field from plain text: decoders by the next token, encoders by hidden ones."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerBase

from jobs.errors import JobFailure
from jobs.rows import Row
from nlp.evaluation.texts import perplexity
from nlp.generation.checkpoint import Checkpoint
from nlp.loading import load_config, load_tokenizer, max_positions, max_tokens_of
from nlp.training.hyper import Hyper
from nlp.training.learner import Learner, mask_of, padded, summed_loss
from nlp.training.scratch import is_scratch
from nlp.training.task import Evaluation, Example, Start, Task

_FULL = Hyper(epochs=1, learning_rate=5e-5, batch_size=32, batch_tokens=16_384)
_LORA = Hyper(epochs=1, learning_rate=5e-4, batch_size=32, batch_tokens=16_384, weight_decay=0.0)
_SCRATCH = Hyper(
    epochs=10, learning_rate=1e-3, batch_size=32, batch_tokens=16_384, betas=(0.9, 0.98)
)

#: Tokens of a row by default; more are cut.
_MOST_READ = 1024
#: Share of the tokens of a text that an encoder must guess; of these so many are hidden and replaced by others, as in
#: BERT: https://arxiv.org/abs/1810.04805.
_GUESSED, _HIDDEN, _REPLACED = 0.15, 0.8, 0.1
#: Draws what is hidden when a model is measured: the same at every measurement.
_SEED = 31
#: Heads that guess hidden tokens: encoders are often published without.
_MADE = ("cls.", "lm_head.", "vocab_", "predictions.")
#: Rows of a batch whose loss is measured.
_BATCH = 16
#: Rows that the frequencies of tokens are counted on.
_COUNTED = 20_000


class _LanguageTask(Task):
    """Text alone."""

    metric: ClassVar[str] = "perplexity"
    higher_is_better: ClassVar[bool] = False

    def __init__(
        self,
        start: Start,
        files: Path,
        config: Any,
        auto_class: Any,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        own = _LORA if start.params.method == "lora" else _FULL
        self.hyper = (_SCRATCH if is_scratch(start.reference) else own).chosen(start.params)
        self._start, self._files, self._tokenizer = start, files, tokenizer
        self._learner = Learner(
            start, files, config, auto_class, self.hyper.dropout, may_miss=_MADE
        )
        self.model = self._learner.model
        limits = [max_positions(config, self._learner.network), max_tokens_of(tokenizer)]
        most = start.params.max_tokens or _MOST_READ
        self._limit = min([most, *(limit for limit in limits if limit)])
        pad = tokenizer.pad_token_id
        self._pad = pad if isinstance(pad, int) else 0

    @abstractmethod
    def scores(
        self, batch: Sequence[Example], random: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Scores ``[tokens, vocabulary]`` of all tokens that are learnt from, and which tokens these are.

        Args:
            random: draws whatever is drawn; None: as torch's own random state says.
        """

    def loss(self, batch: Sequence[Example]) -> tuple[Tensor, int]:
        logits, targets = self.scores(batch)
        return summed_loss(logits, targets, self.hyper.label_smoothing), len(targets)

    def evaluate(self, rows: Sequence[Row]) -> Evaluation:
        """``loss`` in nats and ``perplexity``, for each token."""
        self.model.eval()
        total, count = self._summed(rows)
        details = {"rows": len(rows), "tokens": count}
        return Evaluation(_metrics(total, count), details)

    def baselines(
        self, training: Sequence[Row], rows: Sequence[Row]
    ) -> Mapping[str, Mapping[str, float]]:
        """Guessing each token by how frequent it is, and the model as it was."""
        found = {"frequencies": self._by_frequency(training, rows)}
        if not self._learner.is_scratch:
            with self._learner.untuned() as network:
                own, self._learner.model = self._learner.model, network
                try:
                    total, count = self._summed(rows)
                finally:
                    self._learner.model = own
            found["untuned"] = _metrics(total, count)
        return found

    def save(self, folder: Path) -> None:
        self._learner.save(folder, self._tokenizer)

    def keep(self, folder: Path) -> None:
        self._learner.keep(folder)

    def _summed(self, rows: Sequence[Row]) -> tuple[float, int]:
        """The loss summed over tokens, and how many there are."""
        random = torch.Generator().manual_seed(_SEED)
        total = 0.0
        count = 0
        with torch.inference_mode():
            for begin in range(0, len(rows), _BATCH):
                batch = [self.example(row) for row in rows[begin : begin + _BATCH]]
                logits, targets = self.scores(batch, random)
                total += float(summed_loss(logits, targets))
                count += len(targets)
                self._start.tick(len(batch))
        return total, count

    def _by_frequency(self, training: Sequence[Row], rows: Sequence[Row]) -> dict[str, float]:
        """A token's share among those of training; every token of the vocabulary counts once more."""
        step = max(1, -(-len(training) // _COUNTED))
        counts: Counter[int] = Counter()
        for row in training[::step]:
            counts.update(self.example(row).values["ids"])
            self._start.tick(1)
        whole = counts.total() + len(self._tokenizer)
        tokens = Counter[int]()
        for row in rows:
            tokens.update(self.example(row).values["ids"])
        total = sum(
            math.log(whole / (counts[token] + 1)) * number for token, number in tokens.items()
        )
        return _metrics(total, tokens.total())


class CausalLanguageTask(_LanguageTask):
    """A decoder: each token from those before it. A text closes with the end mark."""

    def __init__(self, start: Start, checkpoint: Checkpoint) -> None:
        if checkpoint.is_seq2seq:
            raise JobFailure(
                "model_unsupported", "Expected a decoder or an encoder, found an encoder-decoder."
            )
        super().__init__(
            start, checkpoint.files, checkpoint.config, checkpoint.auto_class, checkpoint.tokenizer
        )
        end = checkpoint.tokenizer.eos_token_id
        self._end = [int(end)] if end is not None else []

    def example(self, row: Row) -> Example:
        ids: list[int] = self._tokenizer(row.text.strip(), split_special_tokens=True)["input_ids"]
        if ids[-1:] != self._end:
            ids = [*ids, *self._end]
        kept = ids[: self._limit]
        return Example(len(kept), {"ids": kept}, len(kept) < len(ids))

    def scores(
        self, batch: Sequence[Example], random: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        device = self._start.device.torch_name
        rows: list[list[int]] = [example.values["ids"] for example in batch]
        # A token alone has none before it: what comes first is taken for granted, as is an opening mark.
        reads = [row[:-1] or row for row in rows]
        asked = [[int(len(row) > 1)] * len(read) for row, read in zip(rows, reads, strict=True)]
        inputs = {
            "input_ids": padded(reads, self._pad).to(device),
            "attention_mask": mask_of(reads).to(device),
            "use_cache": False,
        }
        where = padded(asked, 0).bool().to(device)
        targets = torch.tensor([token for row in rows for token in row[1:]], device=device)
        return self._learner.logits(inputs, where), targets.long()


class MaskedLanguageTask(_LanguageTask):
    """An encoder: tokens that are hidden from those around them."""

    def __init__(self, start: Start, files: Path) -> None:
        tokenizer = load_tokenizer(files)
        if tokenizer.mask_token_id is None:
            raise JobFailure("model_unsupported", "The model's tokenizer has no mask token.")
        super().__init__(start, files, load_config(files), AutoModelForMaskedLM, tokenizer)
        self._mask = int(tokenizer.mask_token_id)
        self._special = torch.tensor(sorted(tokenizer.all_special_ids))

    def example(self, row: Row) -> Example:
        ids: list[int] = self._tokenizer(
            row.text.strip(), truncation=True, max_length=self._limit, split_special_tokens=True
        )["input_ids"]
        whole = len(self._tokenizer(row.text.strip(), truncation=False)["input_ids"])
        return Example(len(ids), {"ids": ids}, whole > len(ids))

    def scores(
        self, batch: Sequence[Example], random: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        device = self._start.device.torch_name
        rows: list[list[int]] = [example.values["ids"] for example in batch]
        ids, present = padded(rows, self._pad), mask_of(rows)
        bare = present.bool() & ~torch.isin(ids, self._special)
        chance = torch.rand(ids.shape, generator=random)
        guessed = bare & (chance < _GUESSED)
        if not bool(guessed.any()):
            # Short texts: one token at least, the one that was nearest to being drawn.
            guessed.view(-1)[torch.where(bare, chance, 2.0).argmin()] = True
        fate = torch.rand(ids.shape, generator=random)
        others = torch.randint(len(self._tokenizer), ids.shape, generator=random)
        read = torch.where(guessed & (fate < _HIDDEN), self._mask, ids)
        replaced = guessed & (fate >= _HIDDEN) & (fate < _HIDDEN + _REPLACED)
        read = torch.where(replaced, others, read)
        inputs = {"input_ids": read.to(device), "attention_mask": present.to(device)}
        return self._learner.logits(inputs, guessed.to(device)), ids[guessed].to(device)


def is_masked(files: Path) -> bool:
    """Whether a model is an encoder, which learns from hidden tokens."""
    names = load_config(files).architectures or []
    return not any(
        name.endswith(("ForCausalLM", "LMHeadModel", "Generation", "MTModel")) for name in names
    )


def _metrics(total: float, count: int) -> dict[str, float]:
    if not count:
        return {}
    return {"perplexity": perplexity(total, count), "loss": total / count}
