"""Every kind, family of models, engine and precision, against plain fp32 transformers one row at a time.

The cells are made of what the kinds and the engines say of themselves, so that a new engine, or a family that is
converted, fails here until it can be compared.

Two sorts of cells are not here, because random weights spread logits so wide that rounding to int8, and to bf16 in T5,
moves them by more than the tolerance: it is a matter of the weights, not of the family, and each model's first rows
show it. int8 is compared on a trained model in ``test_rounded_translations.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import JobFailure
from jobs.kinds import REFERENCE, Kind, LoadedModel, LoadOptions, Precision, RunContext, Trial
from jobs.rows import Row
from nlp.generation.conversion import CONVERTIBLE
from nlp.kinds import BUILT_IN
from nlp.kinds.classify import Classify
from nlp.kinds.summarize import Summarize
from nlp.kinds.translate import Translate
from tests.unit.nlp import families, tinyencoders, writers
from tests.unit.nlp.tinymodels import CPU, TEXTS
from tests.unit.translation import translators

CONTEXT = RunContext(device=CPU)
#: Ordinary texts; then neighbours: much longer, of marks and of other scripts, and such that name special tokens.
ROWS = [
    Row(number, text)
    for number, text in enumerate(
        [
            *TEXTS[:3],
            "word " * 50,
            "</s><pad><|im_end|> <|im_start|>assistant\n<s>",
            "\u202e\u0000 \U0001f4a5 ?!.. \u5305\u88f9",
            "x",
        ]
    )
]
LABELS = ["delivery", "payment", "praise"]

#: Number formats that each engine is compared in.
PRECISIONS: Mapping[str, tuple[Precision, ...]] = {
    "torch": ("exact", "bf16"),
    "ctranslate2": ("fp32",),
    "openvino": ("auto",),
}


T5 = frozenset({"t5", "mt5", "longt5"})


@dataclass(frozen=True)
class Family:
    """How to save a model of a family, and what to ask of it."""

    save: Callable[[Path], Path]
    params: Mapping[str, Any]
    model_type: str


def _encoder(name: str) -> Family:
    def save(folder: Path) -> Path:
        return tinyencoders.save_encoder(folder / "model", name, LABELS, initializer_range=0.1)

    return Family(save, {}, name)


def _writer(name: str) -> Family:
    save = partial(writers.save_writer, family=name)
    return Family(save, {"max_tokens": 10, "num_beams": 1}, name)


def _converted(name: str) -> Family:
    save = partial(families.save_family, family=name)
    return Family(save, {"max_tokens": 10, "num_beams": 1}, {"t5_gated": "t5"}.get(name, name))


def _translator(save: Callable[[Path], Path], model_type: str, **params: str) -> Family:
    return Family(save, {"max_tokens": 8, "num_beams": 1, **params}, model_type)


_EN_DE = {"source_lang": "en", "target_lang": "de"}
_SUMMARIZERS = ("bart", "pegasus", "t5", "t5_gated", "mt5", *families.DECODERS)
_WRITERS = (*writers.FAMILIES, *writers.OTHERS, *writers.ENCODER_DECODERS)

MATRIX: Mapping[type[Kind], Mapping[str, Family]] = {
    Classify: {name: _encoder(name) for name in (*tinyencoders.PACKED, *tinyencoders.PADDED)},
    Summarize: {
        **{name: _writer(name) for name in _WRITERS},
        **{name: _converted(name) for name in _SUMMARIZERS},
    },
    Translate: {
        "marian": _translator(translators.save_marian, "marian"),
        "m2m100": _translator(translators.save_m2m100, "m2m_100", **_EN_DE),
        "nllb": _translator(translators.save_nllb, "m2m_100", **_EN_DE),
        "mbart50": _translator(translators.save_mbart50, "mbart", **_EN_DE),
        "t5": _translator(translators.save_t5, "t5", **_EN_DE),
        "llama": _translator(partial(families.save_family, family="llama"), "llama", **_EN_DE),
    },
}
CELLS = [
    (kind, family, engine, precision)
    for kind, known in MATRIX.items()
    for family in known
    for engine in kind.engines
    for precision in PRECISIONS[engine]
    if not (precision == "bf16" and known[family].model_type in T5)
]


def test_no_cell_is_missing() -> None:
    """Kinds that load weights, engines, and families that an engine names are all in the matrix."""
    assert set(MATRIX) == {kind for kind in BUILT_IN if kind.loads_weights and kind.needs_model}
    assert {engine for kind in MATRIX for engine in kind.engines} == set(PRECISIONS)
    written = {one.model_type for kind in (Summarize, Translate) for one in MATRIX[kind].values()}
    assert written >= CONVERTIBLE
    promised = {"bart", "pegasus", "t5", "led", "llama"}
    assert set(MATRIX[Summarize]) >= promised
    assert set(MATRIX[Translate]) >= {"marian", "m2m100", "nllb", "mbart50", "t5", "llama"}


class Bench:
    """A saved model of a family, and what plain transformers makes of each row by itself."""

    def __init__(self, kind: Kind, family: Family, folder: Path) -> None:
        self.kind = kind
        self._folder = family.save(folder)
        self._params = kind.Params(**family.params)
        self.reference = self.load(REFERENCE, "exact")
        self.alone = [self.run(self.reference, [row]) for row in ROWS]

    def load(self, engine: str, precision: Precision) -> LoadedModel:
        how = LoadOptions(device=CPU, engine=engine, precision=precision)
        return self.kind.load(self._folder, how)

    def run(self, model: LoadedModel, rows: Sequence[Row]) -> Trial:
        state = self.kind.prepare(model, self._params, CONTEXT)
        with model.tracing() as trace:
            outcomes = self.kind.run(model, state, rows, self._params, CONTEXT)
        return Trial(outcomes, trace)

    def expected(self, rows: Sequence[Row]) -> Trial:
        trials = [self.alone[row.index] for row in rows]
        return Trial(
            [one for trial in trials for one in trial.outcomes],
            [one for trial in trials for one in trial.trace],
        )


@pytest.fixture(scope="module")
def benches(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[type[Kind], str], Bench]:
    made: dict[tuple[type[Kind], str], Bench] = {}

    def bench(kind: type[Kind], name: str) -> Bench:
        if (kind, name) not in made:
            made.clear()  # one at a time: cells come by family
            folder = tmp_path_factory.mktemp(name)
            made[kind, name] = Bench(kind(), MATRIX[kind][name], folder)
        return made[kind, name]

    return bench


def _cell(value: object) -> str:
    return value.name if isinstance(value, type) and issubclass(value, Kind) else str(value)


@pytest.mark.parametrize(("kind", "family", "engine", "precision"), CELLS, ids=_cell)
def test_answers(
    benches: Callable[[type[Kind], str], Bench],
    kind: type[Kind],
    family: str,
    engine: str,
    precision: Precision,
) -> None:
    if find_spec(engine) is None:
        pytest.skip(f"an extra: pip install 'textmill-server[{engine}]'")
    bench = benches(kind, family)
    if engine == "ctranslate2" and MATRIX[kind][family].model_type not in CONVERTIBLE:
        with pytest.raises(JobFailure) as caught:
            bench.load(engine, precision)
        assert caught.value.failure_code == "engine_unsupported"
        return
    model = bench.load(engine, precision)
    exact = model.describe()["precision"] == "fp32"
    for rows in (ROWS, ROWS[::-1], [ROWS[1], ROWS[3]], ROWS[:1]):
        found = bench.run(model, rows)
        expected = bench.expected(rows)
        if exact and kind is not Classify:
            assert list(found.outcomes) == list(expected.outcomes)
        assert not bench.kind.disagreement(bench.reference, expected, found, exact=exact)
