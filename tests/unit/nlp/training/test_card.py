"""The model card: facts in, the same facts out, readable by the hub's own parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from huggingface_hub import ModelCard as HubCard

from nlp.training.card import ModelCard, base_facts, data_hash


def card(**changes: Any) -> ModelCard:
    facts: dict[str, Any] = {
        "name": "tickets",
        "task": "classify",
        "method": "full",
        "base": "hf:org/encoder@abc123",
        "job": "job:job_1",
        "data_hash": "d" * 64,
        "rows": {"train": 1200, "validation": 100, "test": 100},
        "params": {"epochs": 3, "labels": ["a|b", "c"]},
        "metrics": {"macro_f1": 0.86123456, "accuracy": 0.9},
        "baselines": {"TF-IDF": {"macro_f1": 0.77}, "majority class": {"accuracy": 0.25}},
        "licence": "apache-2.0",
        "languages": ["en"],
        "lineage": ["hf:org/encoder@abc123", "hf:org/parent"],
    }
    return ModelCard(**(facts | changes))


def test_the_hubs_parser_reads_the_card(tmp_path: Path) -> None:
    card().write(tmp_path)
    data = HubCard.load(tmp_path / "README.md").data
    assert data.license == "apache-2.0"
    assert data.language == ["en"]
    assert data.base_model == "org/encoder"
    assert data.pipeline_tag == "text-classification"
    results = {one.metric_type: one.metric_value for one in data.eval_results}
    assert results == {"macro_f1": 0.861235, "accuracy": 0.9}


def test_metrics_stand_beside_baselines(tmp_path: Path) -> None:
    text = card().markdown()
    assert "| metric | this model | TF-IDF | majority class |" in text
    assert "| macro_f1 | 0.8612 | 0.77 | - |" in text
    assert "| accuracy | 0.9 | - | 0.25 |" in text
    assert '| labels | ["a\\|b","c"] |' in text
    assert "hf:org/encoder@abc123 ← hf:org/parent" in text


def test_a_licence_that_is_not_known_is_not_made_up() -> None:
    text = card(licence=None, base="scratch:marian", lineage=["scratch:marian"]).markdown()
    assert "license:" not in text
    assert "base_model" not in text
    assert "| licence | not known: the base names none |" in text


def test_groups_show_the_worst(tmp_path: Path) -> None:
    groups = {
        "field": "region",
        "by": "accuracy",
        "worst": "south",
        "worst_value": 0.5,
        "best": "north",
        "gap": 0.25,
        "groups": {
            "north": {"rows": 2000, "metrics": {"accuracy": 0.75}},
            "south": {"rows": 20, "metrics": {"accuracy": 0.5}},
        },
    }
    made = card(details={"groups": groups})
    text = made.markdown()
    assert "| north | 2,000 | 0.75 |" in text
    assert "Worst: south, 0.5; 0.25 below north." in text
    assert made.facts["groups"]["worst"] == "south"
    assert "groups" not in made.facts["groups"]
    assert "details" not in made.facts


def test_all_facts_are_kept_for_machines(tmp_path: Path) -> None:
    card(measured={"steps": 40}).write(tmp_path)
    facts = orjson.loads((tmp_path / "model_card.json").read_bytes())
    assert facts["measured"] == {"steps": 40}
    assert facts["baselines"]["TF-IDF"] == {"macro_f1": 0.77}
    assert "transformers" in facts["code"]


def test_the_hash_of_the_data_is_that_of_names_and_contents(tmp_path: Path) -> None:
    one, other = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"a")
    other.write_bytes(b"b")
    found = data_hash({"input": one, "test": other})
    assert found == data_hash({"test": other, "input": one})
    assert found != data_hash({"input": other, "test": one})
    assert len(found) == 64


def test_a_model_tuned_twice_knows_where_it_came_from(tmp_path: Path) -> None:
    card().write(tmp_path)
    licence, languages, lineage = base_facts(tmp_path, "registry:tickets@0123")
    assert (licence, languages) == ("apache-2.0", ["en"])
    assert lineage == ["registry:tickets@0123", "hf:org/encoder@abc123", "hf:org/parent"]


def test_what_a_foreign_card_says(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\nlicense: other\nlicense_name: gemma\nlanguage: de\nbase_model: org/big\n---\n# x\n"
    )
    assert base_facts(tmp_path, "hf:org/small") == (
        "gemma",
        ["de"],
        ["hf:org/small", "hf:org/big"],
    )


def test_a_base_without_a_readable_card_says_nothing(tmp_path: Path) -> None:
    assert base_facts(tmp_path, "pkg:weights") == (None, [], ["pkg:weights"])
    for text in (
        "no front matter",
        "---\n: : [\n---\n",
        "---\n- list\n---\n",
        "---\nlicense: mit\n",
    ):
        (tmp_path / "README.md").write_text(text)
        assert base_facts(tmp_path, "pkg:weights") == (None, [], ["pkg:weights"])
    assert base_facts(None, "scratch:marian") == (None, [], ["scratch:marian"])
