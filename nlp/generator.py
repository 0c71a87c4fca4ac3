"""Models that write: decoders and encoder-decoders, in batches."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    LogitsProcessor,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import Precision
from jobs.rows import RowFailure
from nlp.loading import (
    TorchModel,
    load_config,
    load_tokenizer,
    load_weights,
    max_positions,
    max_tokens_of,
    quiet,
)
from nlp.precision import compute_dtype
from nlp.prompts import TEXT

#: Positions assumed of a model that names no limit, such as T5 with its relative positions.
_DEFAULT_CONTEXT = 1024
#: Tokens that end a turn in the chat formats in use. Configurations often name only one of a model's.
_TURN_ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|end_of_turn|>", "<end_of_turn>", "<|end|>", "<|endoftext|>",
)  # fmt: skip
#: Stands for the text while the frame around it is built; private-use characters, which no template touches.
_PLACE = "\ue000\ue001"


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How to choose tokens."""

    max_tokens: int
    min_tokens: int = 0
    num_beams: int | None = None  #: None: as the model's own generation configuration says
    temperature: float = 0.0  #: 0 takes the likeliest token each time
    seed: int = 0


@dataclass(frozen=True)
class Frame:
    """Token ids around a text: instruction, chat format and special tokens."""

    before: list[int]
    after: list[int]

    def __len__(self) -> int:
        return len(self.before) + len(self.after)

    def around(self, ids: list[int]) -> list[int]:
        """The whole prompt."""
        return [*self.before, *ids, *self.after]


@dataclass(frozen=True)
class Generated:
    """What the model wrote for one prompt."""

    text: str  #: without special tokens
    tokens: int  #: new tokens, the closing one not counted
    cut: bool  #: whether it was still writing at ``max_tokens``


class GeneratorModel(TorchModel):
    """A loaded decoder or encoder-decoder."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, device: Device) -> None:
        super().__init__(model, device)
        self._tokenizer = tokenizer
        self.is_seq2seq = bool(model.config.is_encoder_decoder)
        limits = [max_positions(model.config, model), max_tokens_of(tokenizer)]
        #: Tokens that the model takes: prompt and answer together, for seq2seq each by itself.
        self.context = min((limit for limit in limits if limit), default=_DEFAULT_CONTEXT)
        self._ends = _end_ids(model, tokenizer)
        pad = tokenizer.pad_token_id
        self._pad_id: int = pad if pad is not None else next(iter(self._ends), 0)

    @classmethod
    def load(cls, files: Path, device: Device, precision: Precision) -> GeneratorModel:
        """Load a model with a language-modelling head.

        Raises:
            JobFailure: ``model_unsupported``, it has none.
        """
        config = load_config(files)
        auto_class = _auto_class(config)
        tokenizer = load_tokenizer(files)
        dtype = compute_dtype(device, precision)
        model = load_weights(auto_class, files, config, device, dtype)
        return cls(model, tokenizer, device)

    @property
    def chats(self) -> bool:
        """Whether the model has a chat template, that is was taught to follow instructions."""
        return not self.is_seq2seq and self._tokenizer.chat_template is not None

    @property
    def own_beams(self) -> int:
        """Beams that the model's own generation configuration asks for."""
        return self._model.generation_config.num_beams or 1

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
        if self.chats:
            prompt = self._chat(prompt.replace(TEXT, _PLACE, 1))
            before, _, after = prompt.partition(_PLACE)
            return Frame(self._ids_before(before), self._ids(after))
        before, _, after = prompt.partition(TEXT)
        first, last = self._special_ids()
        # A decoder goes on behind its prompt: an end mark there would tell it to stop.
        closing = last if self.is_seq2seq else []
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

    def generate(
        self, prompts: Sequence[list[int]], decoding: Decoding
    ) -> list[Generated | RowFailure]:
        """Continue, or for seq2seq answer, each prompt.

        Rows stand in one padded batch. Sampling draws from a generator of each row's own, seeded by
        ``decoding.seed`` and the prompt, so that neighbours change nothing.
        """
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), longest), self._pad_id)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            # New tokens follow the prompt, so a decoder's padding goes in front.
            place = slice(0, len(prompt)) if self.is_seq2seq else slice(longest - len(prompt), None)
            ids[row, place] = torch.tensor(prompt)
            mask[row, place] = 1
        config = self._generation_config(decoding)
        guard = _NonFiniteGuard(len(prompts))
        processors: list[LogitsProcessor] = [guard]
        if not self.is_seq2seq:
            processors.append(NoLoops(longest))
        if decoding.temperature > 0:
            seeds = [_seed(decoding.seed, prompt) for prompt in prompts]
            processors.append(Sampler(decoding.temperature, seeds))
        with quiet(), torch.inference_mode():
            sequences: Tensor = self._model.generate(
                input_ids=ids.to(self._device),
                attention_mask=mask.to(self._device),
                generation_config=config,
                logits_processor=processors,
            )
        written = sequences[:, 1 if self.is_seq2seq else longest :].tolist()
        return [
            RowFailure("non_finite", "The model's scores for this row are not finite.")
            if bad
            else self._generated(row, decoding.max_tokens)
            for row, bad in zip(written, guard.bad_rows(), strict=True)
        ]

    def _generated(self, ids: list[int], max_tokens: int) -> Generated:
        end = next((place for place, token in enumerate(ids) if token in self._ends), None)
        kept = ids[:end] if end is not None else ids
        text = cast(str, self._tokenizer.decode(kept, skip_special_tokens=True))
        return Generated(text, len(kept), cut=end is None and len(ids) >= max_tokens)

    def _generation_config(self, decoding: Decoding) -> GenerationConfig:
        """The model's own settings (such as a length penalty), with the lengths and the choice of ours."""
        config = copy.deepcopy(self._model.generation_config)
        beams = decoding.num_beams or (self.own_beams if self.is_seq2seq else 1)
        config.update(
            do_sample=False, temperature=None, top_p=None, top_k=None, typical_p=None, min_p=None,
            num_beams=1 if decoding.temperature > 0 else beams,
            max_length=None, min_length=None,
            max_new_tokens=decoding.max_tokens, min_new_tokens=decoding.min_tokens or None,
            eos_token_id=sorted(self._ends), pad_token_id=self._pad_id,
        )  # fmt: skip
        return cast(GenerationConfig, config)

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


class _NonFiniteGuard(LogitsProcessor):
    """Notes rows with scores that are not numbers, and lets them go on with harmless ones."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._bad: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # Minus infinity is how tokens are ruled out; anything else that is not finite is a fault.
        bad = (scores.isnan() | (scores == torch.inf)).any(dim=1)
        seen = bad.view(self._rows, -1).any(dim=1)
        self._bad = seen if self._bad is None else self._bad | seen
        return scores.masked_fill(bad.unsqueeze(1), 0.0)

    def bad_rows(self) -> list[bool]:
        """For each row, whether it ever had such scores."""
        return [False] * self._rows if self._bad is None else cast(list[bool], self._bad.tolist())


class NoLoops(LogitsProcessor):
    """Rules out tokens that would complete a sequence of six for the second time in an answer.

    Small models under greedy decoding fall into loops. The prompt does not count: to repeat words of the text
    is what a summary is for. Six, because a year may take five tokens.
    """

    _LENGTH = 6

    def __init__(self, prompt_length: int) -> None:
        self._prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        written = input_ids[:, self._prompt_length :]
        tail = self._LENGTH - 1
        if written.shape[1] <= tail:
            return scores
        earlier = written.unfold(1, tail, 1)[:, :-1]
        rows, places = (earlier == written[:, None, -tail:]).all(dim=2).nonzero(as_tuple=True)
        scores = scores.clone()
        scores[rows, written[rows, places + tail]] = -torch.inf
        return scores


class Sampler(LogitsProcessor):
    """Makes the likeliest token a sample: adds Gumbel noise, drawn for each row by itself.

    The largest of ``logit / temperature + noise`` is distributed as the softmax of ``logit / temperature``
    (the Gumbel-max trick, https://arxiv.org/abs/1411.0030); the noise is minus the logarithm of an
    exponential draw. It is drawn on the CPU, so that a
    seed means the same on every device.
    """

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self._temperature = temperature
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        draws = torch.stack(
            [
                torch.empty(scores.shape[1]).exponential_(generator=generator)
                for generator in self._generators
            ]
        )
        noise = -draws.clamp(min=torch.finfo(torch.float32).tiny).log()
        return scores.float() / self._temperature + noise.to(scores.device)


def _seed(seed: int, prompt: Sequence[int]) -> int:
    digest = hashlib.sha256(f"{seed}:{list(prompt)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _end_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    own = model.generation_config.eos_token_id
    ends = {*own} if isinstance(own, list) else {own}
    ends.add(tokenizer.eos_token_id)
    vocabulary = tokenizer.get_vocab()
    ends |= {vocabulary[token] for token in _TURN_ENDS if token in vocabulary}
    return frozenset(end for end in ends if end is not None)


def _auto_class(config: PretrainedConfig) -> Any:
    names = config.architectures or []
    if config.is_encoder_decoder and any(name.endswith("Generation") for name in names):
        return AutoModelForSeq2SeqLM
    if config.is_encoder_decoder and any(name.endswith("MTModel") for name in names):
        return AutoModelForSeq2SeqLM
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names):
        return AutoModelForCausalLM
    found = ", ".join(names or ["none named"])
    raise JobFailure(
        "model_unsupported", f"Expected a causal or a sequence-to-sequence model, found {found}."
    )
