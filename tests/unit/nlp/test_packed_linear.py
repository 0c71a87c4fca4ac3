"""Packed weights give what plain ones give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nlp.loading import weights_bytes
from nlp.packed_linear import PackedLinear, can_pack, pack_linears


@pytest.mark.parametrize("shape", [(1, 24), (7, 24), (2, 5, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_same_products(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(24, 40, bias=bias)
    inputs = torch.randn(shape)
    with torch.inference_mode():
        made = PackedLinear(linear)(inputs)
        assert made.shape == (*shape[:-1], 40)
        torch.testing.assert_close(made, linear(inputs), rtol=1e-5, atol=1e-5)


class Little(nn.Module):
    """An embedding, a linear layer, and perhaps a look at that layer's weights."""

    def __init__(self, *, looks: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(9, 24)
        self.inner = nn.Sequential(nn.Linear(24, 8), nn.GELU())
        self.last = nn.Linear(8, 3)
        self._looks = looks

    def forward(self) -> Tensor:
        made: Tensor = self.last(self.inner(self.words(torch.tensor([[1, 2, 8]]))))
        return made + self.last.weight[0, 0] if self._looks else made


def test_all_linear_layers_are_packed_and_the_rest_stays() -> None:
    model = Little(looks=False)
    size = weights_bytes(model)
    with torch.inference_mode():
        before = model()
        assert pack_linears(model, model) == 2
        torch.testing.assert_close(model(), before, rtol=1e-5, atol=1e-5)
    assert isinstance(model.inner[0], PackedLinear)
    assert isinstance(model.last, PackedLinear)
    assert isinstance(model.words, nn.Embedding)
    assert weights_bytes(model) >= size
    assert pack_linears(model, model) == 0


def test_a_model_that_looks_at_its_weights_keeps_them() -> None:
    model = Little(looks=True)
    with torch.inference_mode():
        before = model()
        assert pack_linears(model, model) == 0
        assert type(model.last) is nn.Linear
        assert torch.equal(model(), before)


def test_only_where_it_pays() -> None:
    assert can_pack(torch.device("cpu"), torch.float32)
    assert not can_pack(torch.device("cpu"), torch.float64)
    assert not can_pack(torch.device("cuda"), torch.float32)
