"""Settings: read from the environment given, checked, and shown without secrets."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import ValidationError

from jobs.settings import Settings


def read(**variables: str) -> Settings:
    return Settings.from_environment({f"TEXTMILL_{name}": text for name, text in variables.items()})


def test_everything_has_a_default() -> None:
    settings = read()
    assert settings == Settings.from_environment({"OTHER_REDIS_URL": "x", "redis_url": "x"})
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert (settings.port, settings.s3_bucket, settings.s3_allowed_prefixes) == (
        8080,
        "textmill",
        (),
    )


def test_the_environment_given_counts_and_not_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTMILL_PORT", "1")
    monkeypatch.setenv("TEXTMILL_S3_BUCKET", "elsewhere")
    assert (read(PORT="2").port, read().port, read().s3_bucket) == (2, 8080, "textmill")


def test_values_are_typed() -> None:
    settings = read(
        LEASE_SECONDS="2.5",
        S3_SECURE="true",
        TORCH_THREADS="3",
        S3_ALLOWED_PREFIXES="s3://a/, s3://b/c ,",
        LOG_JSON="1",
    )
    assert (settings.lease_seconds, settings.s3_secure, settings.torch_threads) == (2.5, True, 3)
    assert settings.s3_allowed_prefixes == ("s3://a/", "s3://b/c")
    assert settings.log_json is True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("LEASE_SECONDS", "0"),
        ("SHARD_MAX_ROWS", "0"),
        ("SHARD_MAX_BYTES", "10"),
        ("MAX_EXPANSION", "1"),
        ("S3_SECURE", "perhaps"),
        ("S3_ALLOWED_PREFIXES", "corpora/"),
        ("S3_ALLOWED_PREFIXES", "s3://corpora"),
        ("API_CONNECTIONS", "many"),
        ("TORCH_THREADS", "0"),
    ],
)
def test_a_bad_value_names_its_setting(name: str, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(**{name: text})
    assert [error["loc"] for error in caught.value.errors()] == [(name.lower(),)]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "redis://127.0.0.1:6379/1"),
        ({"REDIS_URL": "redis://h:1"}, "redis://h:1/1"),
        ({"REDIS_URL": "rediss://u:p@h:1/3?x=1"}, "rediss://u:p@h:1/4?x=1"),
        ({"BROKER_URL": "redis://b/7"}, "redis://b/7"),
    ],
)
def test_where_messages_go(variables: dict[str, str], expected: str) -> None:
    assert read(**variables).celery_broker_url == expected


@pytest.mark.parametrize(
    ("endpoint", "secure", "expected"),
    [
        ("http://h:1", None, ("h:1", False)),
        ("https://h/", None, ("h", True)),
        ("h:1", None, ("h:1", True)),
        ("h:1", "false", ("h:1", False)),
        ("http://h:1", "true", ("h:1", True)),
    ],
)
def test_the_store(endpoint: str, secure: str | None, expected: tuple[str, bool]) -> None:
    more = {} if secure is None else {"S3_SECURE": secure}
    assert read(S3_ENDPOINT=endpoint, **more).s3_host == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ("h:1", True)),
        ({"S3_PUBLIC_ENDPOINT": "https://files.example.org"}, ("files.example.org", True)),
        ({"S3_PUBLIC_ENDPOINT": "http://h:2/"}, ("h:2", False)),
        ({"S3_PUBLIC_ENDPOINT": "h:2"}, ("h:2", True)),
    ],
)
def test_the_store_as_clients_reach_it(
    variables: dict[str, str], expected: tuple[str, bool]
) -> None:
    assert read(S3_ENDPOINT="http://h:1", S3_SECURE="true", **variables).s3_public_host == expected


@pytest.mark.parametrize(
    "text", ["https://h/path", "ftp://h", "https://u:hunter2@h", "https://", "https://h?x", ""]
)
def test_a_public_endpoint_that_cannot_be_signed_for(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(S3_PUBLIC_ENDPOINT=text)
    assert "s3_public_endpoint" in str(caught.value)


def test_where_models_are_kept() -> None:
    assert str(read(DATA_DIR="/d").model_cache_dir) == "/d/models"
    assert str(read(DATA_DIR="/d", CACHE_DIR="/c").model_cache_dir) == "/c"


SECRETS = {
    "REDIS_URL": ["redis://user:hunter2@h:1/0", "redis://:hunter2@h:1/0"],
    "BROKER_URL": [
        "redis://:hunter2@h/0",
        "rediss://h/0?password=hunter2&x=1",
        "redis://:hunt/hunter2@h/0",
        "redis://:hunt@hunter2@h/0",
        "redis://:hunt#hunter2@h/0",
    ],
    "S3_ACCESS_KEY": ["hunter2"],
    "S3_SECRET_KEY": ["hunter2"],
    "S3_ENDPOINT": ["https://user:hunter2@h:1"],
    "HF_ENDPOINT": ["https://user:hunter2@hub"],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in SECRETS.items() for text in texts]
)
def test_no_secret_is_shown(name: str, text: str) -> None:
    settings = read(**{name: text})
    shown = json.dumps(settings.masked())
    assert "hunt" not in shown
    assert "***" in shown
    if name.endswith(("_URL", "_KEY")):
        assert "hunt" not in repr(settings)


def test_what_is_no_secret_is_shown() -> None:
    shown = read(REDIS_URL="redis://user:hunter2@h:1/5", PORT="81").masked()
    assert (shown["redis_url"], shown["port"]) == ("redis://user:***@h:1/5", 81)
    assert (shown["s3_endpoint"], shown["broker_url"]) == ("http://127.0.0.1:8333", None)
    assert set(shown) == set(Settings.model_fields)


def test_every_setting_that_may_hold_a_secret_is_masked_by_its_type() -> None:
    secret = re.compile(r"secret|password|token|access_key|redis|broker")
    for name, field in Settings.model_fields.items():
        if secret.search(name):
            assert "SecretStr" in str(field.annotation), name


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
