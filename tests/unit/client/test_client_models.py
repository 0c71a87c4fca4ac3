"""``textmill models``: what is shown of a trained model, rollbacks that are repeated, and deleting with a question."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.client.scripted import ScriptedServer, problem, reply
from tests.unit.client.shell import Shell
from textmill import Textmill
from textmill.errors import InputError

FACTS = {
    "task": "classify",
    "method": "full",
    "base": "hf:org/encoder@abc",
    "licence": "apache-2.0",
    "lineage": ["hf:org/encoder@abc", "hf:org/parent"],
    "rows": {"train": 900, "test": 100},
    "data_hash": "d" * 64,
    "job": "job:job_1",
    "metrics": {"macro_f1": 0.8612, "accuracy": 0.9},
    "baselines": {"TF-IDF": {"macro_f1": 0.77}, "majority": {"accuracy": 0.25}},
}
MODEL: dict[str, Any] = {
    "name": "tickets",
    "versions": [
        {"version": "aaa", "created_at": "2026-11-02T12:00:00.000Z", "source": "pkg:x", "bytes": 1},
        {"version": "bbb", "created_at": "2026-11-03T12:00:00.000Z", "bytes": 1, "facts": FACTS},
    ],
    "aliases": {"latest": "bbb", "prod": "aaa"},
}
ALIAS = {
    "name": "tickets",
    "alias": "prod",
    "version": "aaa",
    "history": [
        {"version": "aaa", "at": "2026-11-03T12:00:00.000Z", "reason": "rollback"},
        {"version": "bbb", "at": "2026-11-02T12:00:00.000Z", "reason": "set"},
    ],
}


def test_show_tells_how_good_the_newest_version_is(server: ScriptedServer, textmill: Shell) -> None:
    server.on("GET", "/v1/models/tickets", reply(MODEL))
    said = textmill("models", "show", "tickets").stdout
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "metric bbb TF-IDF majority" in lines
    assert "macro_f1 0.8612 0.77 -" in lines
    assert "accuracy 0.9 - 0.25" in lines
    assert "licence apache-2.0" in lines
    assert "lineage hf:org/encoder@abc ← hf:org/parent" in lines
    assert "rows train 900, test 100" in lines


def test_show_of_a_version_without_facts(server: ScriptedServer, textmill: Shell) -> None:
    server.on("GET", "/v1/models/tickets", reply(MODEL))
    said = textmill("models", "show", "tickets@prod").stdout
    assert "metric" not in said
    assert textmill("models", "show", "tickets@nothing").exit_code == 2


def test_a_rollback_keeps_its_key_when_it_is_sent_again(
    server: ScriptedServer, tm: Textmill
) -> None:
    path = "/v1/models/tickets/aliases/prod/rollback"
    server.on("POST", path, problem(503, "unavailable", "later"), reply(ALIAS))
    found = tm.models.roll_back("tickets", "prod")
    assert (found.version, found.history[1].version) == ("aaa", "bbb")
    keys = [asked.headers["idempotency-key"] for asked in server.asked("POST", path)]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_rollback_says_what_it_left(server: ScriptedServer, textmill: Shell) -> None:
    server.on("POST", "/v1/models/tickets/aliases/prod/rollback", reply(ALIAS))
    said = " ".join(textmill("models", "rollback", "tickets").stdout.split())
    assert said == "registry:tickets@prod means version aaa again, no longer bbb."


def test_deleting_asks_first(server: ScriptedServer, textmill: Shell) -> None:
    assert textmill("models", "delete", "tickets").exit_code == 1
    assert not server.requests
    assert textmill("models", "delete", "tickets@a", "--alias", "prod", "--yes").exit_code == 2


def test_what_holds_a_version_is_told(server: ScriptedServer, textmill: Shell) -> None:
    reason = "alias prod points at aaa"
    refused = problem(
        409,
        "conflict",
        f"version aaa of tickets cannot be deleted: {reason}",
        errors=[{"field": "alias", "reason": reason, "value": "prod"}],
    )
    server.on("DELETE", "/v1/models/tickets/versions/aaa", refused)
    result = textmill("models", "delete", "tickets@aaa", "--yes")
    assert result.exit_code == 1
    assert reason in result.stderr


def test_a_version_and_an_alias_are_not_deleted_at_once(tm: Textmill) -> None:
    with pytest.raises(InputError):
        tm.models.delete("tickets", version="a", alias="b")
