"""Translations by every family of models, against plain transformers as each tokenizer documents it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from jobs.errors import JobFailure
from jobs.kinds import RunContext
from jobs.rows import Outcome, Row, RowFailure, Success
from nlp.generation.model import GeneratorModel
from nlp.kinds.translate import Translate, TranslateParams
from tests.unit.nlp.tinymodels import CPU, EXACT, rows_of
from tests.unit.translation import translators

KIND = Translate()
CONTEXT = RunContext(device=CPU)

#: One sentence each.
SENTENCES = [
    "The parcel came two days late and the box was torn open.",
    "Lovely colours!",
    "I was charged twice for the same order and nobody answers my letters about the refund.",
    "Good value.",
    "Tickets for the second concert went on sale this morning and were gone before noon.",
]
PAIRS = [
    ("en", "de", "translate English to German: "),
    ("en", "fr", "translate English to French: "),
]


@dataclass(frozen=True)
class Case:
    """A model, what the job says, and how one would do it by hand."""

    folder: str
    params: dict[str, Any]
    #: From tokenizer and text to the arguments of ``generate``.
    by_hand: Callable[[Any, str], dict[str, Any]]
    tags: tuple[str | None, str]
    forced: int = 0  #: forced tokens, which count among the new ones by hand


def plainly(tokenizer: Any, text: str) -> dict[str, Any]:
    return dict(tokenizer(text, return_tensors="pt"))


def multilingual(
    source: str, target: str, token: str | None = None
) -> Callable[[Any, str], dict[str, Any]]:
    """As the documentation of M2M100, NLLB and mBART-50 has it."""

    def inputs(tokenizer: Any, text: str) -> dict[str, Any]:
        tokenizer.src_lang = source
        forced = tokenizer.convert_tokens_to_ids(token or target)
        return {**tokenizer(text, return_tensors="pt"), "forced_bos_token_id": forced}

    return inputs


def from_source(source: str) -> Callable[[Any, str], dict[str, Any]]:
    def inputs(tokenizer: Any, text: str) -> dict[str, Any]:
        tokenizer.src_lang = source
        return dict(tokenizer(text, return_tensors="pt"))

    return inputs


def behind(prefix: str) -> Callable[[Any, str], dict[str, Any]]:
    return lambda tokenizer, text: dict(tokenizer(prefix + text, return_tensors="pt"))


SHOT = {"text": "a", "translation": "b"}
EN_DE = {"source_lang": "en", "target_lang": "de"}
CASES = [
    Case("marian", {}, plainly, ("en", "de")),
    Case("marian", {"num_beams": 1}, plainly, ("en", "de")),
    Case("marian-many", {"target_lang": "fr"}, behind(">>fra<< "), ("en", "fr")),
    Case("m2m100", EN_DE, multilingual("en", "de", "__de__"), ("en", "de"), 1),
    Case(
        "m2m100",
        {"source_lang": "auto", "target_lang": "French"},
        multilingual("en", "fr", "__fr__"),
        ("en", "fr"),
        1,
    ),
    Case(
        "nllb",
        {"source_lang": "en", "target_lang": "zh-TW", "num_beams": 2},
        multilingual("eng_Latn", "zho_Hant"),
        ("en", "zh-Hant"),
        1,
    ),
    Case(
        "mbart50", EN_DE | {"source_lang": "en_XX"}, multilingual("en_XX", "de_DE"), ("en", "de"), 1
    ),
    Case("mbart", {"source_lang": "en"}, from_source("en_XX"), ("en", "ro")),
    Case(
        "t5", EN_DE | {"target_lang": "fr"}, behind("translate English to French: "), ("en", "fr")
    ),
    Case(
        "t5-any",
        {"source_lang": "de", "target_lang": "sr-Latn"},
        behind("translate German to Serbian (Latin): "),
        ("de", "sr-Latn"),
    ),
    Case("madlad", EN_DE, behind("<2de> "), ("en", "de")),
]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("translators")
    return {
        "marian": translators.save_marian(root / "marian"),
        "marian-many": translators.save_marian(root / "many", targets=["deu", "fra", "pt_br"]),
        "m2m100": translators.save_m2m100(root / "m2m100"),
        "nllb": translators.save_nllb(root / "nllb"),
        "mbart50": translators.save_mbart50(root / "mbart50"),
        "mbart": translators.save_mbart(root / "mbart", "ro_RO"),
        "t5": translators.save_t5(root / "t5", pairs=PAIRS),
        "t5-any": translators.save_t5(root / "any"),
        "madlad": translators.save_t5(root / "madlad", madlad=["de", "fr", "zh_Hant"]),
    }


@pytest.fixture(scope="session")
def loaded(folders: dict[str, Path]) -> Callable[[str], GeneratorModel]:
    models: dict[str, GeneratorModel] = {}

    def load(name: str) -> GeneratorModel:
        if name not in models:
            models[name] = KIND.load(folders[name], EXACT)
        return models[name]

    return load


def run(model: GeneratorModel, params: dict[str, Any], rows: list[Row]) -> list[Outcome]:
    parsed = TranslateParams(**params)
    return KIND.run(model, KIND.prepare(model, parsed, CONTEXT), rows, parsed, CONTEXT)


def outputs(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    assert all(isinstance(outcome, Success) for outcome in outcomes), outcomes
    return [dict(outcome.output) for outcome in outcomes if isinstance(outcome, Success)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.folder}-{case.tags[1]}")
def test_what_transformers_writes_by_hand(
    case: Case, folders: dict[str, Path], loaded: Callable[[str], GeneratorModel]
) -> None:
    made = run(loaded(case.folder), case.params | {"max_tokens": 20}, rows_of(SENTENCES))
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(folders[case.folder], dtype=torch.float32)
    tokenizer = translators.quietly(lambda: AutoTokenizer.from_pretrained(folders[case.folder]))
    beams = {"num_beams": case.params["num_beams"]} if "num_beams" in case.params else {}
    texts = set()
    for sentence, outcome in zip(SENTENCES, made, strict=True):
        inputs = case.by_hand(tokenizer, sentence)
        with torch.inference_mode():
            written = model.generate(
                **inputs, **beams, max_new_tokens=20 + case.forced, do_sample=False
            )
        expected = str(tokenizer.decode(written[0], skip_special_tokens=True)).strip()
        texts.add(expected)
        if not expected:
            assert outcome == RowFailure("empty_output", "The model wrote nothing.")
            continue
        (output,) = outputs([outcome])
        assert output["translation"] == expected
        assert (output["source_lang"], output["target_lang"]) == case.tags
    assert len(texts) > 1


def test_a_document_is_the_translations_of_its_sentences(
    loaded: Callable[[str], GeneratorModel],
) -> None:
    model = loaded("marian")
    params = {"max_tokens": 12}
    each = [output["translation"] for output in outputs(run(model, params, rows_of(SENTENCES)))]
    text = "\n  {} {}\r\n\n- {}\n{}  {}\n".format(*SENTENCES)
    (whole,) = outputs(run(model, params, rows_of([text])))
    assert whole["translation"] == "\n  {} {}\r\n\n- {}\n{}  {}\n".format(*each)


def test_neighbours_do_not_move_a_row(loaded: Callable[[str], GeneratorModel]) -> None:
    rows = rows_of([*SENTENCES, "  ".join(SENTENCES), "12:30", "Use {name} at https://x.org now."])
    for params in ({"num_beams": 2}, {"num_beams": 1, "temperature": 1.0, "seed": 4}):
        model = loaded("marian")
        together = run(model, params, rows)
        assert together == [run(model, params, [row])[0] for row in rows]
    assert run(model, params | {"seed": 5}, rows) != together


@pytest.mark.parametrize(
    ("folder", "params", "field", "words"),
    [
        ("marian", {"target_lang": "fr"}, "params.target_lang", "It knows deu."),
        ("marian", {"source_lang": "de"}, "params.source_lang", "It knows eng."),
        ("marian-many", {"target_lang": "ja"}, "params.target_lang", "deu, fra, pt_br"),
        ("nllb", {"target_lang": "Klingon"}, "params.target_lang", "ace_Arab"),
        ("nllb", {"target_lang": "ak"}, "params.target_lang", "aka_Latn, twi_Latn"),
        ("m2m100", {"source_lang": "de", "target_lang": "de"}, "params.target_lang", "another"),
        ("t5", {"source_lang": "en", "target_lang": "it"}, "params.target_lang", "It knows de, fr"),
        ("m2m100", {"target_lang": "de", "examples": [SHOT]}, "params.examples", "examples"),
        ("m2m100", {"target_lang": "de", "instruction": "Go"}, "params.instruction", "instruction"),
        ("m2m100", {"target_lang": "de", "max_tokens": 200}, "params.max_tokens", "at most 200"),
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit_the_model(
    loaded: Callable[[str], GeneratorModel],
    folder: str,
    params: dict[str, Any],
    field: str,
    words: str,
) -> None:
    with pytest.raises(JobFailure) as caught:
        KIND.prepare(loaded(folder), TranslateParams(**params), CONTEXT)
    assert (caught.value.failure_code, caught.value.field) == ("invalid_params", field)
    assert words in caught.value.detail


def test_a_listing_is_short(loaded: Callable[[str], GeneratorModel]) -> None:
    with pytest.raises(JobFailure, match="and 182 more"):
        KIND.prepare(loaded("nllb"), TranslateParams(target_lang="xx"), CONTEXT)
