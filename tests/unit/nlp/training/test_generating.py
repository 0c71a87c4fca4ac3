"""Models that learn to write: made from scratch or tuned, they serve as every other model does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jobs.errors import JobFailure
from jobs.kinds import LoadOptions, RunContext
from jobs.rows import Row, Success
from jobs.training import Stopped
from nlp.generation.checkpoint import Checkpoint
from nlp.kinds.summarize import Summarize
from nlp.kinds.translate import Translate
from nlp.training.causal import CausalTask
from nlp.training.params import TrainingParams
from nlp.training.scratch import preset_of
from nlp.training.seq2seq import Seq2SeqTask
from nlp.training.task import Example, Start
from tests.unit.nlp.conftest import bart_model, chat_model, t5_model
from tests.unit.nlp.tinymodels import CPU, TEXTS
from tests.unit.nlp.training.dates import date_rows
from tests.unit.nlp.training.runs import Trained
from tests.unit.translation import translators

__all__ = ["bart_model", "chat_model", "t5_model"]

CONTEXT = RunContext(device=CPU)
DATES = {"task": "translate", "source_lang": "en", "target_lang": "de", "test": 0}


def summaries(count: int) -> list[Row]:
    """Texts with a beginning of their own as target."""
    return [
        Row(number, f"{TEXTS[number % 7]} {number}", fields={"target": f"{TEXTS[number % 7][:20]}"})
        for number in range(count)
    ]


def started(base: Path, scratch: Path, rows: Sequence[Row], **params: Any) -> Start:
    made = TrainingParams.model_validate({"output_name": "tuned", **params})
    return Start(
        base=base, reference="pkg:tiny", params=made, device=CPU, rows=rows, scratch=scratch
    )


def translations(folder: Path, rows: Sequence[Row], engine: str) -> list[str]:
    kind = Translate()
    model = kind.load(folder, LoadOptions(device=CPU, precision="fp32", engine=engine))
    state = kind.prepare(model, kind.Params(), CONTEXT)  # type: ignore[arg-type]  # its own class
    outcomes = kind.run(model, state, rows, kind.Params(), CONTEXT)  # type: ignore[arg-type]
    assert all(isinstance(one, Success) for one in outcomes)
    return [str(one.output["translation"]) for one in outcomes if isinstance(one, Success)]


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("dates")
    params = {**DATES, "epochs": 12, "validation": 0.04}
    made = Trained(folder, None, params, date_rows(1500), reference="scratch:marian")
    made.run()
    return made


def test_a_translator_from_scratch_learns(dates: Trained) -> None:
    seen = [one["metrics"] for one in dates.told("evaluation")]
    assert seen[-1]["loss"] < 0.6 * seen[0]["loss"]
    assert seen[-1]["chrf"] > 30
    assert dates.run_result is not None
    output = dates.run_result.output
    assert set(output["baselines"]) == {"copy"}, "what was random is no baseline"
    assert {"exact_match", "chrf", "bleu"} <= set(output["metrics"])
    assert output["metrics"]["chrf"] > output["baselines"]["copy"]["chrf"]


def test_both_engines_write_what_the_trained_translator_says(dates: Trained) -> None:
    """CTranslate2 begins with zeros: torch would not, had the padding token's vector learnt."""
    rows = date_rows(24, skip=1500)
    ours = translations(dates.product, rows, "torch")
    assert ours == translations(dates.product, rows, "ctranslate2")
    assert len(set(ours)) > 5
    vector = load_file(next(dates.product.glob("*.safetensors")))["model.shared.weight"][-1]
    assert not vector.any()


def test_a_translator_from_scratch_names_its_languages(dates: Trained) -> None:
    tokenizer: Any = Checkpoint.read(dates.product).tokenizer
    assert (tokenizer.source_lang, tokenizer.target_lang) == ("en", "de")
    assert str(dates.folder) not in (dates.product / "config.json").read_text()


def test_training_from_scratch_goes_on_exactly_where_it_stopped(tmp_path: Path) -> None:
    params = {**DATES, "epochs": 2, "validation": 0.1, "batch_size": 16}

    def trained(name: str) -> Trained:
        return Trained(tmp_path / name, None, params, date_rows(100), reference="scratch:marian")

    whole = trained("whole")
    whole.run()
    asked: list[None] = []

    def stopping() -> bool:
        asked.append(None)
        return len(asked) == 4

    stopped = trained("stopped")
    with pytest.raises(Stopped):
        stopped.run(stopping=stopping)
    resumed = trained("resumed")
    resumed.run(resume=Path(stopped.told("checkpoint")[-1]["folder"]))
    found, expected = resumed.weights(), whole.weights()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def plain_loss(task: Seq2SeqTask | CausalTask, example: Example) -> tuple[float, int]:
    """The loss of one row as transformers computes it, with the head over everything."""
    network: Any = task.model
    if isinstance(task, Seq2SeqTask):
        read, write = (torch.tensor([example.values[name]]) for name in ("read", "write"))
        labels = write
        found = network(input_ids=read, labels=labels)
    else:
        ids = torch.tensor([example.values["ids"]])
        labels = ids.clone()
        labels[:, : -example.values["answer"]] = -100
        found = network(input_ids=ids, labels=labels)
    count = int((labels != -100).sum())
    return found.loss.item() * count, count


@pytest.mark.parametrize("family", ["marian", "m2m100", "nllb", "mbart50", "t5", "bart"])
def test_an_encoder_decoder_learns_what_its_family_reads_and_writes(
    family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if family == "bart":
        base, task = request.getfixturevalue("bart_model"), "summarize"
    else:
        base, task = getattr(translators, f"save_{family}")(tmp_path / "base"), "translate"
    rows = summaries(5)
    languages = {"source_lang": "en", "target_lang": "de"} if task == "translate" else {}
    given = {"task": task, "dropout": 0.0, "label_smoothing": 0.0, **languages}
    start = started(base, tmp_path, rows, **given)
    made = Seq2SeqTask(start, Checkpoint.read(base))
    made.model.eval()
    examples = [made.example(row) for row in rows]
    summed, count = made.loss(examples)
    expected = [plain_loss(made, example) for example in examples]
    assert count == sum(one for _, one in expected)
    assert math.isclose(summed.item(), sum(one for one, _ in expected), rel_tol=1e-4)
    if family in {"m2m100", "nllb", "mbart50"}:
        code = {"m2m100": "__de__", "nllb": "deu_Latn", "mbart50": "de_DE"}[family]
        german = made._checkpoint.tokenizer.convert_tokens_to_ids(code)
        assert all(example.values["write"][0] == german for example in examples)
        made.save(tmp_path / "saved")
        assert Checkpoint.read(tmp_path / "saved").generation.forced_bos_token_id == german


def test_a_decoder_learns_the_answer_alone(chat_model: Path, tmp_path: Path) -> None:
    start = started(chat_model, tmp_path, summaries(5), task="summarize", method="lora")
    made = CausalTask(start, Checkpoint.read(chat_model))
    made.model.eval()
    examples = [made.example(row) for row in start.rows]
    summed, count = made.loss(examples)
    expected = [plain_loss(made, example) for example in examples]
    assert count == sum(one for _, one in expected)
    assert math.isclose(summed.item(), sum(one for one, _ in expected), rel_tol=1e-4)
    shown = made._checkpoint.tokenizer.decode(examples[0].values["ids"])
    assert isinstance(shown, str)
    assert shown.endswith(f"<|im_start|>assistant\n{TEXTS[0][:20].strip()}<|im_end|>")
    assert "one sentence" in shown


def test_an_adapter_serves_without_merging(chat_model: Path, tmp_path: Path) -> None:
    params = {"task": "summarize", "method": "lora", "epochs": 30, "learning_rate": 1e-2}
    params |= {"batch_size": 4, "test": 0.2, "validation": 0.2}
    made = Trained(tmp_path, chat_model, params, summaries(40))
    output = made.run().output
    assert set(output["baselines"]) == {"lead", "untuned"}
    assert output["metrics"]["rouge_l"] > output["baselines"]["untuned"]["rouge_l"] + 0.2
    kind = Summarize()
    base = kind.load(chat_model, LoadOptions(device=CPU, precision="exact"))
    tuned = base.adapted(made.product, chat_model)
    tuned.activate()
    state = kind.prepare(tuned, kind.Params(), CONTEXT)  # type: ignore[arg-type]  # its own class
    (one,) = kind.run(tuned, state, [Row(0, f"{TEXTS[0]} 41")], kind.Params(), CONTEXT)  # type: ignore[arg-type]
    assert isinstance(one, Success)
    assert one.output["summary"] == TEXTS[0][:20].strip()


def test_languages_that_cannot_be_told_are_asked_for(tmp_path: Path) -> None:
    rows = [Row(number, f"{number} 12", fields={"target": f"{number} 21"}) for number in range(60)]
    params = {"task": "translate"}
    made = Trained(tmp_path, None, params, rows, reference="scratch:marian")
    with pytest.raises(JobFailure, match="name the language"):
        made.run()


@pytest.mark.parametrize(
    ("reference", "given", "told"),
    [
        ("scratch:perceptron", {}, "scratch:marian"),
        ("scratch:marian@huge", {}, "tiny, small, base; found 'huge'"),
        ("scratch:marian@tiny", {"preset": "small"}, "found small"),
    ],
)
def test_only_known_architectures_and_sizes_are_made(
    reference: str, given: dict[str, Any], told: str, tmp_path: Path
) -> None:
    made = Trained(tmp_path, None, {**DATES, **given}, date_rows(30), reference=reference)
    with pytest.raises(JobFailure, match=told):
        made.run()


def test_a_size_is_named_by_the_reference_or_by_a_parameter(tmp_path: Path) -> None:
    start = started(tmp_path, tmp_path, date_rows(30), task="translate")
    by_name = preset_of(replace(start, reference="scratch:marian@base"))
    small = start.params.model_copy(update={"preset": "small"})
    by_parameter = preset_of(replace(start, reference="scratch:marian", params=small))
    assert (by_name, by_parameter) == ("base", "small")
    assert preset_of(replace(start, reference="scratch:marian")) == "tiny", "few rows fill no more"


def test_an_evaluation_can_be_ended(t5_model: Path, tmp_path: Path) -> None:
    def tick(_rows: int) -> None:
        raise Stopped

    start = started(t5_model, tmp_path, summaries(5), task="summarize")
    made = Seq2SeqTask(replace(start, tick=tick), Checkpoint.read(t5_model))
    with pytest.raises(Stopped):
        made.evaluate(start.rows)
