"""Learning to summarize and translate with decoders, which read a prompt and go on from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor

from jobs.errors import JobFailure
from jobs.rows import Row
from nlp.generation.checkpoint import Checkpoint
from nlp.loading import quiet
from nlp.training.generating import GeneratingTask
from nlp.training.hyper import Hyper
from nlp.training.learner import mask_of, padded
from nlp.training.task import Example, Start

_FULL = Hyper(epochs=2, learning_rate=2e-5, batch_size=16, batch_tokens=8192)
_LORA = Hyper(epochs=2, learning_rate=1e-3, batch_size=16, batch_tokens=8192, weight_decay=0.0)

#: Tokens of a text that are read by default, and of a target. Memory grows with them.
_MOST_READ, _MOST_WRITTEN = 1024, 512
#: Stands for an answer while a chat's format is read.
_PLACE = "\ue000\ue001"


class CausalTask(GeneratingTask):
    """A decoder, taught the tokens of the target behind the prompt that jobs will give it.

    Answers of models that chat close as their format says; those of others with a line break, which ends what jobs
    take from them, and the end mark.
    """

    watched = 64

    def __init__(self, start: Start, checkpoint: Checkpoint) -> None:
        super().__init__(start, checkpoint, _LORA if start.params.method == "lora" else _FULL)
        params = start.params
        self._most_read = params.max_tokens or _MOST_READ
        self._most_written = min(params.max_target_tokens or _MOST_WRITTEN, checkpoint.context // 2)
        chats = self._writer.chats
        self._closing = _closing(checkpoint) if chats else self._plain_closing()
        # "Summary:" is followed by a space, a heading of its own line is not.
        self._before = " " if params.task == "summarize" and not chats else ""

    def example(self, row: Row) -> Example:
        frame, _ = self._asker.frame(row)
        text, target = self._writer.tokenize(
            [row.text.strip(), f"{self._before}{str(row.fields['target']).strip()}"]
        )
        answer = [*target[: self._most_written - len(self._closing)], *self._closing]
        room = min(self._most_read, self._checkpoint.context - len(frame) - len(answer))
        if room < 1:
            raise JobFailure(
                "invalid_params",
                f"Prompt and answer leave no room for text: the model takes {self._checkpoint.context} tokens.",
                field="params.prompt" if self._start.params.prompt else "params.max_target_tokens",
            )
        ids = [*frame.around(text[:room]), *answer]
        cut = len(text) > room or len(answer) < len(target) + len(self._closing)
        return Example(len(ids), {"ids": ids, "answer": len(answer)}, cut)

    def scores(self, batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
        device = self._start.device.torch_name
        rows: list[list[int]] = [example.values["ids"] for example in batch]
        answers: list[int] = [example.values["answer"] for example in batch]
        # The token before tells the next one, so that the last one is never read.
        reads = [row[:-1] for row in rows]
        asked = [
            [0] * (len(read) - answer) + [1] * answer
            for read, answer in zip(reads, answers, strict=True)
        ]
        inputs = {
            "input_ids": padded(reads, self._checkpoint.pad).to(device),
            "attention_mask": mask_of(reads).to(device),
            "use_cache": False,
        }
        targets = [
            token for row, answer in zip(rows, answers, strict=True) for token in row[-answer:]
        ]
        where = padded(asked, 0).bool().to(device)
        return self._learner.logits(inputs, where), torch.tensor(targets, device=device)

    def _plain_closing(self) -> list[int]:
        breaks = self._writer.tokenize(["\n\n"])[0]
        return [*breaks, *_end_mark(self._checkpoint)]


def _closing(checkpoint: Checkpoint) -> list[int]:
    """Token ids that a chat's format puts behind an answer, up to the one that ends it.

    Raises:
        JobFailure: ``model_unsupported``, the template fails or does not show the answer.
    """
    tokenizer: Any = checkpoint.tokenizer
    chat = [{"role": "user", "content": "."}, {"role": "assistant", "content": _PLACE}]
    try:
        with quiet():
            shown = str(tokenizer.apply_chat_template(chat, tokenize=False))
    except TemplateError as error:
        raise JobFailure(
            "model_unsupported", f"The model's chat template failed: {error}"
        ) from error
    _, found, after = shown.rpartition(_PLACE)
    if not found:
        raise JobFailure("model_unsupported", "The model's chat template changes the answer.")
    ids: list[int] = tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
    for place, token in enumerate(ids):
        if token in checkpoint.ends:
            return ids[: place + 1]
    return _end_mark(checkpoint)


def _end_mark(checkpoint: Checkpoint) -> list[int]:
    own = checkpoint.tokenizer.eos_token_id
    return [int(own)] if own is not None else sorted(checkpoint.ends)[:1]
