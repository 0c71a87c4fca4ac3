"""Token ids around a text: instruction, chat format and special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from jobs.errors import JobFailure
from nlp.loading import quiet
from nlp.prompts import TEXT

#: Stands for the text while the frame around it is built; private-use characters, which no template touches.
_PLACE = "\ue000\ue001"


@dataclass(frozen=True)
class Frame:
    """Token ids around a text."""

    before: list[int]
    after: list[int]

    def __len__(self) -> int:
        return len(self.before) + len(self.after)

    def around(self, ids: list[int]) -> list[int]:
        """The whole prompt."""
        return [*self.before, *ids, *self.after]


class Framer:
    """Turns texts and prompts into token ids.

    Args:
        closes: whether a prompt ends with the tokenizer's end mark. A decoder goes on behind its prompt: an end
            mark there would tell it to stop.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, chats: bool, closes: bool) -> None:
        self._tokenizer = tokenizer
        self._chats = chats
        self._closes = closes

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of bare texts. What looks like a special token in them is ordinary text."""
        if not texts:
            return []
        with quiet():
            ids: list[list[int]] = self._tokenizer(
                list(texts),
                add_special_tokens=False,
                split_special_tokens=True,
                truncation=False,
                return_attention_mask=False,
            )["input_ids"]
        return ids

    def frame(self, prompt: str) -> Frame:
        """Token ids that stand around the text which takes the place of ``{text}`` in the prompt.

        For a chat model the prompt is the user's message, for others all that they read.

        Raises:
            JobFailure: ``model_unsupported``, the model's chat template fails or changes the text.
        """
        if self._chats:
            prompt = self._chat(prompt.replace(TEXT, _PLACE, 1))
            before, _, after = prompt.partition(_PLACE)
            return Frame(self._ids_before(before), self._ids(after))
        before, _, after = prompt.partition(TEXT)
        first, last = self._special_ids()
        closing = last if self._closes else []
        return Frame([*first, *self._ids_before(before.rstrip(" "))], [*self._ids(after), *closing])

    def _chat(self, message: str) -> str:
        try:
            written = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise JobFailure(
                "model_unsupported", f"The model's chat template failed: {error}"
            ) from error
        if str(written).count(_PLACE) != 1:
            raise JobFailure("model_unsupported", "The model's chat template changes the text.")
        return str(written)

    def _ids(self, text: str) -> list[int]:
        """Token ids in which special tokens count as such; none are added."""
        if not text:
            return []
        ids: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=False, return_attention_mask=False
        )["input_ids"]
        return ids

    def _ids_before(self, text: str) -> list[int]:
        """Token ids of what stands before a text: at its end they may depend on what follows.

        Two line breaks, for instance, can be one token at the end and two in front of a word.
        """
        probe = self._ids("A")
        joined = self._ids(f"{text}A")
        if joined[-len(probe) :] == probe:
            return joined[: -len(probe)]
        return self._ids(text)  # a tokenizer that marks beginnings of words

    def _special_ids(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and behind a text."""
        bare = self._ids("a")
        whole: list[int] = self._tokenizer("a", return_attention_mask=False)["input_ids"]
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return whole[:start], whole[start + len(bare) :]
        raise JobFailure("model_unsupported", "The tokenizer's special tokens cannot be read.")
