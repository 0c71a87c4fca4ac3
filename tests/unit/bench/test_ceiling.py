"""What an encoder's products cost, against what torch itself counts."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import BertConfig, BertModel

from bench.ceiling import Shape, peak_flops
from nlp.encoders.packed import PackedEncoder
from nlp.encoders.tokenizing import Tokens

SHAPE = Shape(size=32, inner=64, layers=3)
LENGTHS = [5, 9, 9, 30]


def counting() -> FlopCounterMode:
    """torch's counter, which does not know the attention of CPUs by itself."""

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        count: int = sdpa_flop_count(query, key, value)  # type: ignore[no-untyped-call]
        return count

    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={kernel: attention})


def encoder() -> Any:
    make: Any = BertModel
    return make(
        BertConfig(
            vocab_size=50,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
        ),
        add_pooling_layer=False,
    ).eval()


def test_products_of_all_tokens() -> None:
    model = encoder()
    counter = counting()
    with torch.inference_mode(), counter:
        for length in LENGTHS:
            model(input_ids=torch.ones(1, length, dtype=torch.long))
    assert SHAPE.flops(LENGTHS) == counter.get_total_flops()


def test_products_where_only_first_tokens_count() -> None:
    packed = PackedEncoder.of(encoder(), 0, takes_types=False)
    assert packed is not None
    counter = counting()
    with torch.inference_mode(), counter:
        packed.first_states([Tokens([1] * length, [0] * length) for length in LENGTHS])
    assert SHAPE.flops_for_heads(LENGTHS) == counter.get_total_flops()


def test_a_device_has_a_speed() -> None:
    speed = peak_flops(Shape(size=8, inner=16, layers=1), torch.device("cpu"), torch.float32)
    assert 1e6 < speed < 1e15
