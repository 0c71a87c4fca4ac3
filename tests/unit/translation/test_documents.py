"""Whole documents through models that copy, mangle, lose and fail: nothing that must survive is ever lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.kinds import RunContext
from jobs.rows import Outcome, Row, RowFailure, Success
from nlp.generation.checkpoint import Checkpoint
from nlp.generation.decoding import Prompt, Written
from nlp.generation.engine import Done, GenerationEngine
from nlp.generation.model import GeneratorModel
from nlp.kinds.translate import Translate, TranslateParams
from nlp.translation.placeholders import spans
from tests.unit.nlp.tinymodels import CPU, rows_of
from tests.unit.translation.test_placeholders import SPANS

KIND = Translate()
CONTEXT = RunContext(device=CPU)
PARAMS = {"source_lang": "en", "target_lang": "de"}


class Scripted(GenerationEngine):
    """Writes what a function makes of each text; with a real model's tokenizer."""

    name = "scripted"
    precision = architecture = "none"
    memory_bytes = 0

    def __init__(self, checkpoint: Checkpoint, script: Callable[[str], str]) -> None:
        self._tokenizer: Any = checkpoint.tokenizer
        self.script = script
        self.calls: list[list[str]] = []

    def write(self, prompts: Sequence[Prompt], done: Done) -> list[Written | RowFailure]:
        texts = [self._tokenizer.decode(prompt.ids, skip_special_tokens=True) for prompt in prompts]
        self.calls.append(texts)
        made: list[Written | RowFailure] = []
        for number, (text, prompt) in enumerate(zip(texts, prompts, strict=True)):
            answer = self.script(text)
            if answer == "fail":
                made.append(RowFailure("inference_failed", "Scripted."))
            else:
                ids = self._tokenizer(answer, add_special_tokens=False)["input_ids"]
                most = prompt.decoding.max_tokens
                made.append(Written(ids[:most], cut=len(ids) > most))
            done([number])
        return made


@pytest.fixture(scope="module")
def checkpoint(bart_model: Path) -> Checkpoint:
    return Checkpoint.read(bart_model)


@pytest.fixture
def engine(checkpoint: Checkpoint) -> Scripted:
    return Scripted(checkpoint, str.upper)


@pytest.fixture
def model(checkpoint: Checkpoint, engine: Scripted) -> GeneratorModel:
    return GeneratorModel(checkpoint, engine)


def run(
    model: GeneratorModel, rows: list[Row], context: RunContext = CONTEXT, **params: Any
) -> list[Outcome]:
    parsed = TranslateParams(**(PARAMS | params))
    return KIND.run(model, KIND.prepare(model, parsed, context), rows, parsed, context)


def one(model: GeneratorModel, text: str, **params: Any) -> dict[str, Any]:
    (outcome,) = run(model, rows_of([text]), **params)
    assert isinstance(outcome, Success), outcome
    return dict(outcome.output)


def test_everything_else_stays_where_it_is(model: GeneratorModel, engine: Scripted) -> None:
    text = "# A note\r\n\r\n  Dear {name}, see https://x.org/a. It is <b>new</b>!\n\n- 12:30\n\tbye `x y`\n"
    assert one(model, text)["translation"] == (
        "# A NOTE\r\n\r\n  DEAR {name}, SEE https://x.org/a. IT IS <b>NEW</b>!\n\n- 12:30\n\tBYE `x y`\n"
    )
    assert engine.calls == [["A note", "Dear %1, see %2.", "It is %1new%2!", "bye %1"]]


def test_all_segments_of_a_window_go_together(model: GeneratorModel, engine: Scripted) -> None:
    ticks: list[int] = []
    texts = ["One. Two.", "Three.", "5", "Four {a} five {b}."]
    made = run(model, rows_of(texts), replace(CONTEXT, tick=ticks.append))
    assert len(engine.calls) == 1
    assert sum(ticks) == len(texts)
    assert [one.output["translation"] for one in made if isinstance(one, Success)] == [
        text if text == "5" else text.upper().replace("{A}", "{a}").replace("{B}", "{b}")
        for text in texts
    ]


def test_lost_markers_are_made_up_for_in_a_second_call(
    model: GeneratorModel, engine: Scripted
) -> None:
    engine.script = lambda text: text.upper().replace("%1", "")
    ticks: list[int] = []
    made = run(
        model,
        rows_of(["Four {a},  five {b}.", "Six."]),
        replace(CONTEXT, tick=ticks.append),
    )
    assert [one.output["translation"] for one in made if isinstance(one, Success)] == [
        "FOUR {a},  FIVE {b}.", "SIX.",
    ]  # fmt: skip
    assert engine.calls == [["Four %1,  five %2.", "Six."], ["Four", "five"]]
    assert sum(ticks) == 2


def mangled(text: str) -> st.SearchStrategy[str]:
    return st.permutations(text.split()).map(" ".join)


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    pieces=st.lists(
        st.sampled_from([*SPANS, "word", "Two words.", "5", "\n", " ", ", "]), max_size=10
    ),
    data=st.data(),
)
def test_spans_survive_any_model(
    model: GeneratorModel, engine: Scripted, pieces: list[str], data: st.DataObject
) -> None:
    text = " ".join(pieces) or "x"
    engine.script = lambda source: data.draw(mangled(source.replace("%1", "%2"))) or "y"
    translation = one(model, text)["translation"] if text.strip() else text
    wanted = [text[start:end] for start, end in spans(text)]
    place = 0
    for span in wanted:
        place = translation.find(span, place) + len(span)
        assert place >= len(span), (text, translation, span)
    assert translation.count("\n") == text.count("\n")


def test_sentences_longer_than_the_model_are_cut_between_words(
    model: GeneratorModel, engine: Scripted
) -> None:
    text = " ".join(f"word{number}" for number in range(300)) + " {name} end."
    engine.script = str
    output = one(model, text)
    assert output["translation"] == text
    assert "truncated" not in output
    (texts,) = engine.calls
    assert len(texts) > 1
    assert all(not part.startswith("ord") for part in texts)


def test_an_answer_at_its_limit_is_said_to_be_cut(model: GeneratorModel) -> None:
    assert one(model, "Some more words than two.", max_tokens=2)["truncated"] is True
    assert "truncated" not in one(model, "Some words.")


def test_a_segment_that_fails_fails_its_row(model: GeneratorModel, engine: Scripted) -> None:
    engine.script = lambda text: {"Bad.": "fail", "Mute.": " "}.get(text, text)
    made = run(model, rows_of(["Good. Bad.", "Good.", "Mute."]))
    assert [getattr(outcome, "code", None) for outcome in made] == [
        "inference_failed", None, "empty_output",
    ]  # fmt: skip


def test_what_needs_no_translation(model: GeneratorModel, engine: Scripted) -> None:
    german = "Das Paket kam zwei Tage zu spät."
    made = run(model, rows_of([german, "12:30 {x}"]), source_lang="auto")
    assert [dict(outcome.output) for outcome in made if isinstance(outcome, Success)] == [
        {"translation": german, "source_lang": "de", "target_lang": "de", "untranslated": True},
        {
            "translation": "12:30 {x}",
            "source_lang": None,
            "target_lang": "de",
            "untranslated": True,
        },
    ]
    assert engine.calls == []


def test_rows_name_languages_of_their_own(model: GeneratorModel) -> None:
    fields: list[dict[str, Any]] = [
        {"target_lang": "fr"},
        {"source_lang": "auto", "target_lang": "Italian"},
        {"target_lang": "xx"},
        {"source_lang": 5},
        {"source_lang": "", "target_lang": None},
    ]
    rows = [
        Row(n, "The parcel came two days late.", fields=field) for n, field in enumerate(fields)
    ]
    found = [
        (outcome.output["source_lang"], outcome.output["target_lang"])
        if isinstance(outcome, Success)
        else outcome.code
        for outcome in run(model, rows)
    ]
    assert found == [
        ("en", "fr"), ("en", "it"), "language_unsupported", "language_unsupported", ("en", "de"),
    ]  # fmt: skip


def test_a_job_or_its_rows_say_what_to_translate_into(model: GeneratorModel) -> None:
    (outcome,) = run(model, rows_of(["Hello there."]), target_lang=None)
    assert isinstance(outcome, RowFailure)
    assert outcome.code == "language_unknown"


def test_text_in_other_scripts_is_joined_as_its_language_is(
    model: GeneratorModel, engine: Scripted
) -> None:
    engine.script = lambda text: "Yes." if text else text
    assert (
        one(model, "雨が降る。傘を持つ。", source_lang="ja", target_lang="en")["translation"]
        == "Yes. Yes."
    )
    assert (
        one(model, "雨が降る。傘を持つ。", source_lang="ja", target_lang="zh")["translation"]
        == "Yes.Yes."
    )


def test_blank_text_is_refused() -> None:
    failure = KIND.check(Row(0, " \n"), TranslateParams())
    assert failure is not None
    assert failure.code == "empty_text"
