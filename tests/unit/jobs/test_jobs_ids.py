"""Identifiers: their forms, their order, and that a key's job id never changes."""

from __future__ import annotations

import time

import pytest

from jobs.ids import (
    api_key_id,
    hash_api_key,
    id_ms,
    idempotent_job_id,
    is_id,
    new_api_key,
    new_id,
    new_token,
)

SECRET = bytes(range(32))


@pytest.mark.parametrize("kind", ["job", "file", "key", "upload"])
def test_new_ids_have_their_form(kind: str) -> None:
    made = {new_id(kind) for _ in range(200)}
    assert len(made) == 200
    assert all(is_id(one, kind) and len(one) == len(kind) + 27 for one in made)


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for milliseconds in (1, 31, 32, 1_700_000_000_000, 1_800_000_000_000, (1 << 48) - 1):
        monkeypatch.setattr(time, "time_ns", lambda now=milliseconds: now * 1_000_000)
        ids.append(new_id("job"))
    assert ids == sorted(ids)
    assert ids[-1].startswith("job_7zzzzzzzzz")


def test_the_first_ten_digits_are_the_ulids_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the ULID specification: 1469918176385 ms is 01ARYZ6S41."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_469_918_176_385 * 1_000_000)
    made = new_id("job")
    assert made.startswith("job_01aryz6s41")
    assert id_ms(made) == time.time_ns() // 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        "",
        "job_",
        "job_" + "0" * 25,
        "job_" + "0" * 27,
        "job_" + "0" * 25 + "i",
        "job_" + "0" * 25 + "u",
        "job_" + "A" * 26,
        "job_" + "0" * 26 + "\n",
        " job_" + "0" * 26,
        "file_" + "0" * 26,
        "../" + "0" * 26,
    ],
)
def test_what_is_no_job_id(value: str) -> None:
    assert not is_id(value, "job")
    assert is_id("job_" + "0" * 26, "job")


def test_the_id_of_a_key_never_changes() -> None:
    """A changed id would run jobs again that were submitted before an upgrade."""
    found = idempotent_job_id(SECRET, "default", "nightly-2026-11-01")
    assert found == "job_0qezkbqb53bnwb53xyt4fp88ah"
    assert is_id(found, "job")


def test_ids_of_keys_differ_by_tenant_key_and_installation() -> None:
    given = [
        (SECRET, "default", "k"),
        (SECRET, "default", "K"),
        (SECRET, "default", "k "),
        (SECRET, "other", "k"),
        (SECRET[::-1], "default", "k"),
        (SECRET, "a", "b:c"),
        (SECRET, "a:b", "c"),
        (SECRET, "a", "Schlüssel"),
        (SECRET, "a", ""),
    ]
    made = {idempotent_job_id(*one) for one in given}
    assert len(made) == len(given)
    assert all(is_id(one, "job") for one in made)


def test_tokens_are_128_random_bits() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(len(bytes.fromhex(one)) == 16 for one in made)


def test_a_key_names_its_id_and_hides_the_rest() -> None:
    key_id, key = new_api_key()
    assert is_id(key_id, "key")
    assert api_key_id(key) == key_id
    assert hash_api_key(key) != hash_api_key(new_api_key()[1])
    assert len(bytes.fromhex(hash_api_key(key))) == 32
    assert key[-32:] not in key_id + hash_api_key(key)


@pytest.mark.parametrize("key", ["", "tm_", "tm_x_y", "Bearer x", "tm_" + "0" * 26 + "_short"])
def test_what_is_no_key(key: str) -> None:
    assert api_key_id(key) is None
    assert api_key_id(new_api_key()[1] + "\n") is None
