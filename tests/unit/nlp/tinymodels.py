"""Small models, made on the spot or shipped in installed packages. Nothing is asked of any hub."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from jobs.devices import Device
from jobs.kinds import LoadOptions
from jobs.rows import Row

CPU = Device(type="cpu", name="cpu")
AUTO = LoadOptions(device=CPU)
EXACT = LoadOptions(device=CPU, precision="exact")

TEXTS = [
    "The parcel came two days late and the box was torn open.",
    "Lovely colours!",
    "I was charged twice for the same order and nobody answers my letters about the refund.",
    "Where can I change my password? The page keeps telling me that the link has expired.",
    "Good value.",
    "The engine started on the first try, even after a winter in the barn, and ran all day.",
    "Tickets for the second concert went on sale this morning and were gone before noon.",
]

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def rows_of(texts: Sequence[str]) -> list[Row]:
    """Texts as rows of an input."""
    return [Row(index, text) for index, text in enumerate(texts)]


def package_folder(name: str) -> Path:
    """Where an installed package lies; it is not imported."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def save_tokenizer(folder: Path, *, max_length: int, chat: bool = False, bert: bool = False) -> int:
    """Train a byte-level BPE tokenizer on the test texts, save it and give its vocabulary's size."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    if not chat:
        pair = "<s> $A </s> $B:1 </s>:1" if bert else "<s> $A </s> </s> $B </s>"
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair=pair, special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    fast: Any = PreTrainedTokenizerFast  # has no types
    wrapped = fast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="<|im_end|>" if chat else "</s>",
        model_max_length=max_length,
        chat_template=CHAT_TEMPLATE if chat else None,
    )
    if bert:
        wrapped.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    wrapped.save_pretrained(folder)
    return tokenizer.get_vocab_size()


def save_classifier(folder: Path, labels: Sequence[str], **facts: Any) -> Path:
    """A BERT classifier with random weights, spread wide enough that its scores differ."""
    folder.mkdir(parents=True)
    size = save_tokenizer(folder, max_length=64, bert=True)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
        initializer_range=0.4,
        pad_token_id=0,
        **facts,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder
