"""Small models of other tests serve here too."""

from __future__ import annotations

from tests.unit.nlp.conftest import bart_model, chat_model, one_thread

__all__ = ["bart_model", "chat_model", "one_thread"]
