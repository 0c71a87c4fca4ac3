"""Where the server's URL and the key come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from textmill import ConfigError, Textmill
from textmill.config import Found, Setting, check_key, check_url, find_config, mask

FILE = 'url = "http://file:8080"\napi_key = "file-key"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".textmill").mkdir()
    (tmp_path / ".textmill" / "client.toml").write_text(FILE)
    return tmp_path


def values(found: Found) -> tuple[str | None, str | None]:
    return (
        found.url.value if found.url else None,
        found.api_key.value if found.api_key else None,
    )


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ((None, None), {}, ("http://file:8080", "file-key")),
        ((None, None), {"TEXTMILL_API_KEY": "env-key"}, ("http://file:8080", "env-key")),
        ((None, "arg"), {"TEXTMILL_API_KEY": "env-key"}, ("http://file:8080", "arg")),
        (
            ("http://arg", None),
            {"TEXTMILL_URL": "http://env", "TEXTMILL_API_KEY": "env-key"},
            ("http://arg", "env-key"),
        ),
        ((None, None), {"TEXTMILL_URL": "http://env"}, ("http://env", None)),
        (("http://arg", None), {}, ("http://arg", None)),
        (("http://file:8080/", None), {}, ("http://file:8080/", "file-key")),
    ],
)
def test_arguments_win_over_environment_over_file(
    folder: Path,
    arguments: tuple[str | None, str | None],
    environ: dict[str, str],
    expected: tuple[str | None, str | None],
) -> None:
    assert values(find_config(*arguments, environ=environ, folder=folder)) == expected


def test_the_source_of_each_value_is_known(folder: Path) -> None:
    found = find_config(None, "a", environ={}, folder=folder)
    assert found.url is not None
    assert found.api_key is not None
    assert found.url.source == "./.textmill/client.toml"
    assert found.api_key.source == "argument"
    assert "file-key" not in repr(find_config(environ={}, folder=folder))


def test_only_the_current_folder_is_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = folder / "below"
    below.mkdir()
    monkeypatch.chdir(folder)
    assert values(find_config(environ={})) == ("http://file:8080", "file-key")
    monkeypatch.chdir(below)
    assert values(find_config(environ={})) == (None, None)


def test_nothing_configured_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="TEXTMILL_URL") as caught:
        Textmill()
    assert "textmill-server up" in str(caught.value)
    with pytest.raises(ConfigError, match="no API key is configured for http://a"):
        Textmill("http://a")


@pytest.mark.parametrize(
    ("content", "message"),
    [("url = ", "not valid TOML"), ("url = 3", "url must be"), ("api_key = []", "api_key must be")],
)
def test_a_broken_file_is_named(folder: Path, content: str, message: str) -> None:
    (folder / ".textmill" / "client.toml").write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        find_config(environ={}, folder=folder)
    assert "client.toml" in caught.value.detail


@pytest.mark.parametrize("url", ["http://h", "http://h/", "http://h/v1", " http://h/v1/ "])
def test_a_url_may_end_in_several_ways(url: str) -> None:
    assert check_url(Setting(url, "argument")) == "http://h"


@pytest.mark.parametrize(
    "url",
    ["h", "localhost:8080", "ftp://h", "http://", "http://h:port", "http://u:p@h", "http://h/?a=1"],
)
def test_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="argument"):
        check_url(Setting(url, "argument"))


def test_a_host_that_cannot_exist_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="not a server's URL"):
        Textmill("http://ex\u2488mple.com", "key")


@pytest.mark.parametrize("key", ["", "  ", "a\nb", "a b", "schlüssel"])
def test_a_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="API key"):
        check_key(Setting(key, "TEXTMILL_API_KEY"))
    assert check_key(Setting(" key\n", "TEXTMILL_API_KEY")) == "key"


def test_a_key_is_shown_only_in_part() -> None:
    assert mask("tm_01k5b3w7m3v9q8z2c4x6t1n0rc_secret") == "tm_01k5b3…"
    assert mask("short") == "…"
