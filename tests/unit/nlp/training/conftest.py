"""A tiny model to start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.nlp.tinymodels import save_classifier


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with a head for two labels of no meaning, and dropout as published."""
    return save_classifier(tmp_path_factory.mktemp("encoder") / "model", ["a", "b"])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models as small as these gain nothing by several threads, and tests run beside one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
