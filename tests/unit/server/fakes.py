"""Modules that stand in for what this host does not have."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_PLUGINS = Path(__file__).parents[2] / "plugins"


def plugin(path: str) -> ModuleType:
    """A module of ``tests/plugins``, under no name that anything else would import."""
    spec = importlib.util.spec_from_file_location("a_fake", _PLUGINS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["a_fake"] = module  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module
