"""The page of schedules, without a browser: what is served, and under which rules."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from tests.unit.api.applications import application

SCRIPTS = ["calls.js", "parts.js", "schedules.js"]
FILES = {"schedules.css": "text/css", **dict.fromkeys(SCRIPTS, "text/javascript")}


def test_the_page_allows_only_its_own_files() -> None:
    answer = application().test_client().get("/schedules")
    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "data:",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    named = re.findall(r'(?:src|href|action)="([^"]+)"', answer.text)
    assert sorted(named) == ["#", "data:,", "schedules/schedules.css", "schedules/schedules.js"]
    assert "<script>" not in answer.text
    assert "style=" not in answer.text


def test_every_file_is_served_and_no_other() -> None:
    client = application().test_client()
    folder = resources.files("api") / "web"
    assert {file.name for file in folder.iterdir()} == {"schedules.html", *FILES}
    for name, media in FILES.items():
        answer = client.get(f"/schedules/{name}")
        assert answer.status_code == 200
        assert answer.content_type == f"{media}; charset=utf-8"
        again = client.get(f"/schedules/{name}", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304
    for name in ("schedules.html", "nothing.js", "..%2fpages.py", "%2e%2e/pages.py"):
        assert client.get(f"/schedules/{name}").status_code == 404


def test_with_a_slash_at_its_end_it_is_elsewhere() -> None:
    answer = application().test_client().get("/schedules/")
    assert (answer.status_code, answer.headers["Location"]) == (308, "../schedules")


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_elements_of_text(name: str) -> None:
    code = (resources.files("api") / "web" / name).read_text("utf-8")
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "srcdoc"):
        assert unsafe not in code
    assert not re.search(r"https?://|localStorage|document\.cookie", code)
