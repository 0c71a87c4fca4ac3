"""``bench_classify``: classify, and say when rows are computed. ``bench_echo``: echo in windows of the usual size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.stamps import write_stamp
from jobs.kinds import Kind, RunContext
from jobs.rows import Outcome, Row
from nlp.kinds.classify import Classify, ClassifyParams
from tests.plugins.echo_kind import Echo

if TYPE_CHECKING:
    from nlp.classifiers import Classifier
    from nlp.encoder import EncoderModel


class UsualEcho(Echo):
    """Echo in windows as kinds have them by default; those of the tests' own are small, to be cut into."""

    name: ClassVar[str] = "bench_echo"
    summary: ClassVar[str] = "Give each text back, in windows of the usual size"
    window_rows: ClassVar[int] = Kind.window_rows


class StampedParams(ClassifyParams):
    """As for classify."""

    stamps: str  #: file that the moment of each window's end is written to


class StampedClassify(Classify):
    """Classify; each window's end is written down."""

    name: ClassVar[str] = "bench_classify"
    summary: ClassVar[str] = "Classify, and say when"
    Params: ClassVar[type[StampedParams]] = StampedParams

    def run(
        self,
        model: EncoderModel,
        state: Classifier,
        rows: Sequence[Row],
        params: ClassifyParams,
        context: RunContext,
    ) -> list[Outcome]:
        outcomes = super().run(model, state, rows, params, context)
        if isinstance(params, StampedParams):
            write_stamp(Path(params.stamps))
        return outcomes
