"""LoRA adapters over one base: PEFT's own outputs, one base in memory, switched back and forth."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from jobs.errors import JobFailure
from jobs.kinds import LoadedModel, RunContext
from jobs.rows import Success
from nlp.cache import AdapterFiles, ModelCache
from nlp.encoder import EncoderModel
from nlp.files import find_model_folder
from nlp.generation.decoding import Decoding, Prompt
from nlp.generation.model import GeneratorModel
from nlp.kinds.classify import Classify, ClassifyParams
from nlp.kinds.summarize import Summarize
from tests.unit.nlp.loras import save_adapter, with_adapter
from tests.unit.nlp.tinymodels import CPU, EXACT, TEXTS, rows_of, save_classifier

LAYERS = ["query", "value", "dense"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with a head of three labels."""
    return save_classifier(tmp_path_factory.mktemp("base") / "model", ["a", "b", "c"])


def classifier(base: Path, labels: int = 3) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=labels, ignore_mismatched_sizes=True
    )


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three adapters: of like and of unlike ranks, with heads of 3, 5 and 2 labels."""
    root = tmp_path_factory.mktemp("adapters")
    configs: list[dict[str, Any]] = [
        {"r": 4, "lora_alpha": 8, "target_modules": LAYERS},
        {"r": 8, "lora_alpha": 2, "target_modules": ["query", "key"], "use_rslora": True},
        {
            "r": 2,
            "target_modules": LAYERS,
            "exclude_modules": ["pooler.dense", "bert.pooler.dense"],
            "rank_pattern": {"layer.0.attention.self.query": 6},
            "alpha_pattern": {"layer.1.attention.self.value": 32},
        },
    ]
    return [
        save_adapter(
            classifier(base, labels), root / str(labels), labels, task_type="SEQ_CLS", **config
        )
        for labels, config in zip((3, 5, 2), configs, strict=True)
    ]


def peft_logits(base: Path, adapter: Path, labels: int, *, merged: bool = False) -> torch.Tensor:
    """Logits of the texts, one row at a time."""
    model = with_adapter(classifier(base, labels), adapter)
    if merged:
        model = model.merge_and_unload()
    tokenizer = AutoTokenizer.from_pretrained(base)
    with torch.inference_mode():
        return torch.cat(
            [
                model(**tokenizer(text, return_tensors="pt", truncation=True)).logits
                for text in TEXTS
            ]
        )


def logits(model: LoadedModel) -> torch.Tensor:
    assert isinstance(model, EncoderModel)
    model.activate()
    return model.way.vectors(model.tokenizer.whole(TEXTS))


def cached(cache: ModelCache, base: Path, adapter: Path | None) -> LoadedModel:
    over = AdapterFiles(key=adapter.name, folder=adapter) if adapter else None
    return cache.get("base", Classify(), base, EXACT, over)


def test_three_adapters_cost_one_base_and_compute_what_peft_does(
    base: Path, adapters: list[Path]
) -> None:
    cache = ModelCache(1 << 30, CPU)
    plain = cached(cache, base, None)
    alone = cache.used_bytes
    before = logits(plain)
    models = [cached(cache, base, adapter) for adapter in adapters]
    # The files hold the adapters' numbers, in fp32, and a header.
    own = sum((path / "adapter_model.safetensors").stat().st_size for path in adapters)
    assert alone < cache.used_bytes <= alone + own
    assert cache.resident() == ("3", "5", "2", "base")
    places = {id(parameter): parameter.data_ptr() for parameter in trunk(plain).parameters()}
    for model in models:
        assert {id(one): one.data_ptr() for one in trunk(model).parameters()} == places
    for number in (0, 1, 2, 1, 0, 2):
        labels = (3, 5, 2)[number]
        found = logits(models[number])
        assert found.shape == (len(TEXTS), labels)
        torch.testing.assert_close(
            found, peft_logits(base, adapters[number], labels), atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(
            found, peft_logits(base, adapters[number], labels, merged=True), atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(logits(plain), before, atol=0, rtol=0)


def trunk(model: LoadedModel) -> torch.nn.Module:
    assert isinstance(model, EncoderModel)
    module: torch.nn.Module = model._model.base_model
    return module


def test_a_base_goes_last_and_takes_its_adapters_budget(base: Path, adapters: list[Path]) -> None:
    cache = ModelCache(1 << 30, CPU)
    cached(cache, base, adapters[0])
    one = cache.used_bytes
    cached(cache, base, adapters[1])
    two = cache.used_bytes
    tight = ModelCache(two - 1, CPU)
    first = cached(tight, base, adapters[0])
    assert tight.used_bytes == one
    second = cached(tight, base, adapters[1])
    assert tight.resident() == ("5", "base")
    assert not tight.holds(first)
    assert tight.holds(second)
    # What was evicted still computes right for whoever holds it.
    expected = peft_logits(base, adapters[0], 3)
    torch.testing.assert_close(logits(first), expected, atol=1e-5, rtol=1e-4)
    scant = ModelCache(one - 1, CPU)
    with pytest.raises(JobFailure) as caught:
        cached(scant, base, adapters[0])
    assert caught.value.failure_code == "model_too_large"
    assert scant.resident() == ("base",)


def test_labels_come_with_the_adapter(base: Path, adapters: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(adapters[1], tmp_path / "named")
    names = ["ant", "bee", "cat", "dog", "elk"]
    (folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(names))}))
    assert find_model_folder(folder) == folder
    kind, context = Classify(), RunContext(device=CPU)
    for path, expected in ((folder, names), (adapters[1], [f"LABEL_{n}" for n in range(5)])):
        model = kind.load(base, EXACT).adapted(path, base)
        model.activate()
        state = kind.prepare(model, ClassifyParams(), context)
        outcomes = kind.run(model, state, rows_of(TEXTS), ClassifyParams(), context)
        wanted = [expected[place] for place in peft_logits(base, adapters[1], 5).argmax(dim=1)]
        found = [one.output["label"] for one in outcomes if isinstance(one, Success)]
        assert found == wanted


def test_a_head_over_an_encoder_without_one(minilm: Path, tmp_path: Path) -> None:
    adapter = save_adapter(
        classifier(minilm, 4), tmp_path / "a", 5, task_type="SEQ_CLS", target_modules=["query"]
    )
    cache = ModelCache(1 << 30, CPU)
    embedder = cached(cache, minilm, None)
    model = cached(cache, minilm, adapter)
    found = logits(model)
    torch.testing.assert_close(found, peft_logits(minilm, adapter, 4), atol=1e-4, rtol=1e-3)
    assert isinstance(embedder, EncoderModel)
    assert isinstance(model, EncoderModel)
    assert (embedder.pooling, model.pooling) == ("mean", None)


def written(model: LoadedModel) -> list[str]:
    assert isinstance(model, GeneratorModel)
    model.activate()
    prompts = [Prompt(ids, Decoding(max_tokens=12)) for ids in model.tokenize(TEXTS)]
    made = model.engine.write(prompts, lambda _: None)
    return [str(getattr(one, "ids", one)) for one in made]


def peft_written(base: Path, adapter: Path, prompts: Sequence[list[int]]) -> list[str]:
    model = with_adapter(AutoModelForCausalLM.from_pretrained(base), adapter)
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        made = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )[0, len(prompt) :].tolist()
        end = next((place for place, token in enumerate(made) if token == 4), None)
        found.append(str(made[:end]))
    return found


def test_adapters_of_a_model_that_writes(chat_model: Path, tmp_path: Path) -> None:
    folders = [
        save_adapter(
            AutoModelForCausalLM.from_pretrained(chat_model),
            tmp_path / str(seed),
            seed,
            task_type="CAUSAL_LM",
            r=4,
            lora_alpha=16,
            target_modules=["q_proj", "v_proj", "down_proj"],
        )
        for seed in (1, 2, 3)
    ]
    cache = ModelCache(1 << 30, CPU)
    plain = cache.get("base", Summarize(), chat_model, EXACT)
    assert isinstance(plain, GeneratorModel)
    alone, before = cache.used_bytes, written(plain)
    models = [
        cache.get("base", Summarize(), chat_model, EXACT, AdapterFiles(key=one.name, folder=one))
        for one in folders
    ]
    own = sum((path / "adapter_model.safetensors").stat().st_size for path in folders)
    assert cache.used_bytes <= alone + own
    prompts = plain.tokenize(TEXTS)
    outputs = [peft_written(chat_model, folder, prompts) for folder in folders]
    assert len({tuple(output) for output in [before, *outputs]}) == 4
    for number in (0, 1, 2, 0, 2):
        assert written(models[number]) == outputs[number]
        assert written(plain) == before


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(peft_type="LOHA"), "expected peft_type LORA"),
        (lambda c: c.update(use_dora=True), "use_dora is not supported"),
        (lambda c: c.update(something_new={"a": 1}), "something_new is not supported"),
        (lambda c: c.update(bias="lora_only"), "expected bias none"),
        (lambda c: c.update(init_lora_weights="pissa"), "also changes the base model"),
        (lambda c: c.update(alpha_pattern={"(a+)+$": 2}), "found an expression"),
        (lambda c: c.update(lora_alpha="x"), "is no number"),
        (lambda c: c.update(base_model_name_or_path=None), "names no model"),
    ],
)
def test_what_is_no_plain_lora_is_refused(
    base: Path, adapters: list[Path], tmp_path: Path, change: Change, said: str
) -> None:
    folder = shutil.copytree(adapters[0], tmp_path / "changed")
    config = json.loads((folder / "adapter_config.json").read_text())
    change(config)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    model = Classify().load(base, EXACT)
    with pytest.raises(JobFailure, match="The adapter cannot be used") as caught:
        model.adapted(folder, base)
    assert said in caught.value.detail
    assert caught.value.failure_code == "model_unsupported"


def test_an_adapter_of_another_model_is_refused(
    base: Path, minilm: Path, adapters: list[Path], chat_model: Path
) -> None:
    small, generator = Classify().load(minilm, EXACT), Summarize().load(chat_model, EXACT)
    for model, files, said in (
        (small, minilm, "the base has (384, 384)"),
        (generator, chat_model, "its base has no layer"),
    ):
        with pytest.raises(JobFailure) as caught:
            model.adapted(adapters[0], files)
        assert said in caught.value.detail


def test_adapters_with_only_pickled_weights_are_unsafe(
    adapters: list[Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(adapters[0], tmp_path / "pickled")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(JobFailure) as caught:
        find_model_folder(folder)
    assert caught.value.failure_code == "model_unsafe"
