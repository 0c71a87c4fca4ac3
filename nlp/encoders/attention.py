"""Attention over rows that lie end to end: each row sees itself alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

from nlp.encoders.packing import Packed

#: Queries ``[tokens or rows, heads, size]``, keys and values ``[tokens, heads, size]``; gives what the queries have.
#: There are as many queries as tokens, or one for each row.
Attention = Callable[[Tensor, Tensor, Tensor, Packed], Tensor]

_HALF = (torch.float16, torch.bfloat16)


def attention_for(device: torch.device, dtype: torch.dtype) -> Attention | None:
    """How this device does it, or None where it has no way that beats padding."""
    if device.type == "cpu":
        return by_runs
    if device.type == "cuda" and dtype in _HALF:
        return by_kernel
    return None


def by_runs(queries: Tensor, keys: Tensor, values: Tensor, batch: Packed) -> Tensor:
    """Rows of one length as a batch, one such batch after the other: needs no mask and no copies of its inputs."""
    found = torch.empty_like(queries, memory_format=torch.contiguous_format)
    whole = len(queries) == len(keys)
    heads, size = keys.shape[1:]
    for run in batch.runs:
        asked = run.tokens if whole else run.places
        count = run.length if whole else 1
        query = queries[asked].view(run.rows, count, heads, size).transpose(1, 2)
        key = keys[run.tokens].view(run.rows, run.length, heads, size).transpose(1, 2)
        value = values[run.tokens].view(run.rows, run.length, heads, size).transpose(1, 2)
        answer = scaled_dot_product_attention(query, key, value)
        found[asked].view(run.rows, count, heads, size).copy_(answer.transpose(1, 2))
    return found


def by_kernel(queries: Tensor, keys: Tensor, values: Tensor, batch: Packed) -> Tensor:
    """All rows in one call of FlashAttention, which is told where each begins."""
    if len(queries) == len(keys):
        asked, most = batch.starts, batch.longest
    else:
        asked = torch.arange(len(queries) + 1, dtype=torch.int32, device=queries.device)
        most = 1
    answer = varlen_attn(queries, keys, values, asked, batch.starts, most, batch.longest)
    if not isinstance(answer, Tensor):
        raise TypeError("expected attention alone")
    return answer
