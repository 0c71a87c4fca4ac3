"""What the benchmarks of a bare machine stand on: a device, texts, models of usual shapes, plain ``generate``."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
    PreTrainedTokenizerFast,
)

from jobs.devices import Device
from nlp.loading import quiet
from nlp.precision import compute_dtype
from server.demo.corpus import docstrings

_VOCABULARY = 8000
_PAD, _BEGIN, _END = 0, 1, 2


class NoGpu(Exception):
    """A GPU was asked for and torch sees none."""


@dataclass(frozen=True)
class Setting:
    """What is measured on."""

    device: Device
    folder: Path  #: for models
    corpus: tuple[str, ...]

    @classmethod
    def on(cls, wanted: str, folder: Path) -> Setting:
        """The first GPU that torch sees, or the CPU.

        Raises:
            NoGpu: ``cuda`` was wanted and there is none.
        """
        gpu = torch.cuda.is_available()
        if wanted == "cuda" and not gpu:
            raise NoGpu(f"torch {torch.__version__} sees no GPU; try --device cpu --scale 0.02")
        device = Device(type="cpu", name=platform.machine() + " cpu")
        if gpu and wanted != "cpu":
            facts = torch.cuda.get_device_properties(0)
            device = Device(type="cuda", name=facts.name, memory_bytes=facts.total_memory)
        return cls(device, folder, tuple(document.text for document in docstrings(2000)))

    @property
    def dtype(self) -> str:
        """The device's quick number format, as torch calls it."""
        return str(compute_dtype(self.device, "auto")).removeprefix("torch.")

    def texts(self, count: int) -> list[str]:
        """So many texts."""
        return list(islice(cycle(self.corpus), count))

    def describe(self) -> dict[str, Any]:
        """The hardware and what drives it."""
        return {
            "device": self.device.name,
            "memory_gib": round(self.device.memory_bytes / (1 << 30)),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "transformers": transformers.__version__,
        }


class PlainGenerate:
    """What a user would write: prompts sorted by length, padded batches, ``generate``."""

    def __init__(self, setting: Setting, folder: Path, dtype: str, *, is_seq2seq: bool) -> None:
        auto_class: Any = AutoModelForSeq2SeqLM if is_seq2seq else AutoModelForCausalLM
        with quiet():
            model = auto_class.from_pretrained(folder, dtype=dtype)
        self._model = model.to(setting.device.torch_name).eval()
        self._left = not is_seq2seq

    def run(self, prompts: Sequence[list[int]], lengths: Sequence[int], batch: int) -> None:
        """Answer all; a batch goes on until its longest answer is written."""
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            self._batch([prompts[one] for one in chosen], max(lengths[one] for one in chosen))

    def _batch(self, prompts: Sequence[list[int]], length: int) -> None:
        longest = max(map(len, prompts))
        pads = [[_PAD] * (longest - len(prompt)) for prompt in prompts]
        rows = [
            pad + prompt if self._left else prompt + pad
            for pad, prompt in zip(pads, prompts, strict=True)
        ]
        ids = torch.tensor(rows, device=self._model.device)
        with quiet(), torch.inference_mode():
            self._model.generate(
                input_ids=ids,
                attention_mask=(ids != _PAD).long(),
                min_new_tokens=length,
                max_new_tokens=length,
                do_sample=False,
                num_beams=1,
            ).cpu()


def device_for_pipeline(setting: Setting) -> str:
    """The device as a pipeline wants it."""
    return setting.device.torch_name


def save_encoder(setting: Setting) -> Path:
    """A classifier of MiniLM's shape, and a label for each of ten topics."""
    make: Any = BertConfig  # its types know nothing of labels
    config = make(
        vocab_size=_VOCABULARY,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        max_position_embeddings=512,
        pad_token_id=_PAD,
        num_labels=10,
    )
    return _save(setting, "encoder", BertForSequenceClassification, config, closes=True)


def save_decoder(setting: Setting) -> Path:
    """A decoder of SmolLM2-135M's shape."""
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=_PAD,
        bos_token_id=_BEGIN,
        eos_token_id=_END,
    )
    return _save(setting, "decoder", LlamaForCausalLM, config, closes=False)


def save_marian(setting: Setting) -> Path:
    """An encoder-decoder of the shape of Marian's base models."""
    config = MarianConfig(
        vocab_size=58_101,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        max_position_embeddings=512,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=_PAD,
        bos_token_id=_BEGIN,
        eos_token_id=_END,
        decoder_start_token_id=_PAD,
        forced_eos_token_id=None,
    )
    return _save(setting, "marian", MarianMTModel, config, closes=True)


def _save(setting: Setting, name: str, model_class: Any, config: Any, *, closes: bool) -> Path:
    folder = setting.folder / name
    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False
    )
    tokenizer.train_from_iterator(setting.corpus, trainer)
    if closes:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> $B </s>",
            special_tokens=[("<s>", 1), ("</s>", 2)],
        )
    wrap: Any = PreTrainedTokenizerFast  # has no types
    wrapped = wrap(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106  (no secret)
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        model_max_length=512,
    )
    wrapped.save_pretrained(folder)
    torch.manual_seed(1)
    with quiet():
        model_class(config).save_pretrained(folder)
    return folder
