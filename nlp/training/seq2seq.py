"""Learning to summarize and translate with encoder-decoders: Marian, T5, BART, M2M100 and their kin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.rows import Row
from nlp.generation.checkpoint import Checkpoint
from nlp.training.asking import TranslationAsker
from nlp.training.generating import GeneratingTask
from nlp.training.hyper import Hyper
from nlp.training.learner import mask_of, padded
from nlp.training.scratch import is_scratch, preset_of
from nlp.training.task import Example, Start

_T5 = frozenset({"t5", "mt5", "umt5", "longt5", "switch_transformers"})
_FULL = Hyper(epochs=3, learning_rate=5e-5, batch_size=32, dropout=0.1, label_smoothing=0.1)
#: T5's weights are larger than others': it was trained with steps that its own optimizer scales by them.
_FULL_T5 = Hyper(epochs=3, learning_rate=3e-4, batch_size=32, dropout=0.1)
_LORA = Hyper(epochs=3, learning_rate=1e-3, batch_size=32, weight_decay=0.0)

#: From scratch: what a size needs. A thousand steps teach a small grammar by heart.
_SCRATCH_BATCH = 64
_SCRATCH_STEPS = {"tiny": 1000, "small": 5000, "base": 20_000}
#: At twice this rate one tiny model in three never learns to look at the text.
_SCRATCH = {
    "tiny": Hyper(learning_rate=1e-3),
    "small": Hyper(learning_rate=1e-3, dropout=0.1, label_smoothing=0.1),
    "base": Hyper(learning_rate=5e-4, dropout=0.1, label_smoothing=0.1),
}
#: Most epochs over few rows.
_SCRATCH_EPOCHS = 100


class Seq2SeqTask(GeneratingTask):
    """An encoder-decoder, taught by the tokens of the target before the one to be written."""

    watched = 400

    def __init__(self, start: Start, checkpoint: Checkpoint) -> None:
        super().__init__(start, checkpoint, _hyper(start, checkpoint))
        params, tokenizer = start.params, checkpoint.tokenizer
        self._is_marian = checkpoint.config.model_type == "marian"
        self._most_read = min(checkpoint.context, params.max_tokens or checkpoint.context)
        self._most_written = min(
            checkpoint.answer - 1, params.max_target_tokens or checkpoint.answer
        )
        self._end = int(tokenizer.eos_token_id)
        asker = self._asker
        codes = isinstance(asker, TranslationAsker) and asker.names_languages
        self._opening = [] if codes else _opening(tokenizer)

    def example(self, row: Row) -> Example:
        frame, forced = self._asker.frame(row)
        text = self._writer.tokenize([row.text.strip()])[0]
        target = self._targets(str(row.fields["target"]).strip())
        read = frame.around(text[: max(1, self._most_read - len(frame))])
        opening = [*(forced or self._opening)]
        write = [*opening, *target[: self._most_written - len(opening) - 1], self._end]
        cut = len(read) < len(frame) + len(text) or len(write) < len(opening) + len(target) + 1
        return Example(len(read) + len(write), {"read": read, "write": write}, cut)

    def scores(self, batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
        device = self._start.device.torch_name
        pad, start = self._checkpoint.pad, self._checkpoint.start
        reads = [example.values["read"] for example in batch]
        writes = [example.values["write"] for example in batch]
        where = mask_of(writes).bool().to(device)
        inputs = {
            "input_ids": padded(reads, pad).to(device),
            "attention_mask": mask_of(reads).to(device),
            "use_cache": False,
            "decoder_input_ids": padded([[start, *one[:-1]] for one in writes], pad).to(device),
        }
        targets = torch.tensor([token for one in writes for token in one], device=device)
        return self._learner.logits(inputs, where), targets

    def stepped(self) -> None:
        if self._is_marian:
            # It begins to write with the vector of the padding token, which is also a row of the head and learns from
            # each step; engines hold it to be zero, as in published models.
            pad = self._checkpoint.config.pad_token_id
            self._learner.network.get_input_embeddings().weight.data[pad].zero_()

    def save(self, folder: Path) -> None:
        self._record_route()
        super().save(folder)

    def _targets(self, text: str) -> list[int]:
        """Token ids of a target: Marian's tokenizers have another half for what is written."""
        if not self._is_marian:
            return self._writer.tokenize([text])[0]
        ids: list[int] = self._checkpoint.tokenizer(
            text_target=text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
        )["input_ids"]
        return ids

    def _record_route(self) -> None:
        """Let the files say which languages these are, where they have a place for it and say nothing yet."""
        route = self._asker.route
        if route is None or route.source is None:
            return
        network, tokenizer = self._learner.network, self._checkpoint.tokenizer
        source, target = route.source, route.target
        own: Any = tokenizer
        if self._is_marian and not own.source_lang:
            own.source_lang, own.target_lang = source.code, target.code
            tokenizer.init_kwargs |= {"source_lang": source.code, "target_lang": target.code}
        elif network.config.model_type in _T5 and not network.config.task_specific_params:
            prefix = f"translate {source.name} to {target.name}: "
            name = f"translation_{source.code}_to_{target.code}"
            network.config.task_specific_params = {name: {"prefix": prefix}}
        elif isinstance(self._asker, TranslationAsker) and self._asker.forced:
            network.generation_config.forced_bos_token_id = self._asker.forced[0]


def _hyper(start: Start, checkpoint: Checkpoint) -> Hyper:
    if is_scratch(start.reference):
        preset = preset_of(start)
        steps = _SCRATCH_STEPS[preset] * _SCRATCH_BATCH
        epochs = min(_SCRATCH_EPOCHS, max(3, math.ceil(steps / max(1, len(start.rows)))))
        found = _SCRATCH[preset]
        return Hyper(
            epochs=epochs,
            learning_rate=found.learning_rate,
            batch_size=_SCRATCH_BATCH,
            betas=(0.9, 0.98),
            dropout=found.dropout,
            label_smoothing=found.label_smoothing,
        )
    if start.params.method == "lora":
        return _LORA
    return _FULL_T5 if checkpoint.config.model_type in _T5 else _FULL


def _opening(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a target: BART's ``<s>``."""
    whole: list[int] = tokenizer(text_target="a", return_attention_mask=False)["input_ids"]
    first = tokenizer.bos_token_id
    return whole[:1] if first is not None and whole[:1] == [first] else []
