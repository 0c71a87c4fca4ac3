"""Translation by models that chat or go on from examples, against plain transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from jobs.errors import JobFailure
from jobs.kinds import RunContext
from jobs.rows import Success
from nlp.kinds.translate import Translate, TranslateParams
from tests.unit.nlp.tinymodels import CPU, EXACT, TEXTS, rows_of, save_tokenizer

KIND = Translate()
CONTEXT = RunContext(device=CPU)
PARAMS: dict[str, Any] = {"source_lang": "en", "target_lang": "de", "max_tokens": 5}
EXAMPLES = [
    {"text": "Good morning!", "translation": "Guten Morgen!"},
    {"text": "Thank you.", "translation": "Danke."},
]


@pytest.fixture(scope="module")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama that was never taught to chat."""
    folder = tmp_path_factory.mktemp("plain")
    size = save_tokenizer(folder, max_length=400)
    torch.manual_seed(29)
    config = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=400, initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def translations(folder: Path, params: dict[str, Any], texts: list[str]) -> list[str | None]:
    model = KIND.load(folder, EXACT)
    parsed = TranslateParams(**params)
    made = KIND.run(model, KIND.prepare(model, parsed, CONTEXT), rows_of(texts), parsed, CONTEXT)
    return [one.output["translation"] if isinstance(one, Success) else None for one in made]


def by_hand(folder: Path, prompt: str, first: list[int], ends: list[int]) -> str | None:
    """The first line of what transformers goes on with. A mark of a turn's end is an end, too."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    ids = [*first, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    with torch.inference_mode():
        written = model.generate(
            torch.tensor([ids]), max_new_tokens=5, do_sample=False, eos_token_id=ends
        )[0]
    text = str(tokenizer.decode(written[len(ids) :], skip_special_tokens=True)).strip()
    return text.partition("\n")[0].strip() or None


def test_models_that_chat(chat_model: Path) -> None:
    told = "Translate the following English text into German. Reply with the translation only."
    tokenizer: Any = AutoTokenizer.from_pretrained(chat_model)
    for params, instruction in [
        ({}, told),
        ({"instruction": "In German, please:"}, "In German, please:"),
    ]:
        made = translations(chat_model, PARAMS | params, TEXTS)
        assert len(set(made)) > 2
        for text, translation in zip(TEXTS, made, strict=True):
            prompt = tokenizer.apply_chat_template(
                [{"role": "user", "content": f"{instruction}\n\n{text}"}],
                tokenize=False,
                add_generation_prompt=True,
            )
            assert translation == by_hand(chat_model, prompt, [], [4])


def test_models_that_go_on_from_examples(plain_model: Path) -> None:
    made = translations(plain_model, PARAMS | {"examples": EXAMPLES}, TEXTS)
    assert len(set(made)) > 2
    shots = "English:\nGood morning!\nGerman:\nGuten Morgen!\n\nEnglish:\nThank you.\nGerman:\nDanke.\n\n"
    for text, translation in zip(TEXTS, made, strict=True):
        prompt = f"{shots}English:\n{text}\nGerman:\n"
        assert translation == by_hand(plain_model, prompt, [1], [2, 4])


def test_parameters_that_do_not_fit(plain_model: Path) -> None:
    model = KIND.load(plain_model, EXACT)
    many = [{"text": "word " * 20, "translation": "Wort " * 20}] * 20
    cases: list[tuple[dict[str, Any], str]] = [
        ({"instruction": "Go on."}, "params.instruction"),
        ({"examples": many}, "params.examples"),
        ({"max_tokens": 390}, "params.max_tokens"),
        ({"target_lang": "xx"}, "params.target_lang"),
    ]
    for params, field in cases:
        with pytest.raises(JobFailure) as caught:
            KIND.prepare(model, TranslateParams(**(PARAMS | params)), CONTEXT)
        assert (caught.value.failure_code, caught.value.field) == ("invalid_params", field)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"temperature": 1.0, "num_beams": 2}, "num_beams"),
        ({"instruction": "{text} {text}"}, "instruction"),
        ({"examples": [{"text": "{text}", "translation": "b"}]}, "examples"),
        ({"examples": [{"text": "a\nb", "translation": "b"}]}, "examples"),
        ({"target_lang": "de;"}, "target_lang"),
        ({"target_language": "de"}, "target_language"),
    ],
)
def test_parameters_that_fit_no_model(params: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TranslateParams(**params)
