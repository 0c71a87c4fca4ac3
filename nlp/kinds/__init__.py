"""The built-in task kinds: one file, one kind."""

from __future__ import annotations

from jobs.kinds import Kind
from nlp.kinds.classify import Classify
from nlp.kinds.fine_tune import FineTune
from nlp.kinds.import_model import ImportModel
from nlp.kinds.summarize import Summarize
from nlp.kinds.translate import Translate

BUILT_IN: tuple[type[Kind], ...] = (Classify, FineTune, ImportModel, Summarize, Translate)
