"""The page ``/docs``, in a real browser that reaches nothing but the server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.contract import Contract
from tests.integration.stack.running import RunningStack

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def rendered(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The page's elements once its scripts have run, and what the browser logged."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options += [f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]
    options += ["--disable-background-networking", "--no-first-run", "--enable-logging=stderr"]
    # Whatever comes from elsewhere does not come.
    options += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    options += ["--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run(
        [str(CHROMIUM), *options, f"{stack.client.url}/docs"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout, done.stderr


def test_every_operation_is_shown(rendered: tuple[str, str], contract: Contract) -> None:
    shown = re.findall(r'opblock-summary-path"[^>]* data-path="([^"]+)"', rendered[0])
    shown = [path.replace("\u200b", "").replace("&#8203;", "") for path in shown]
    assert sorted(shown) == sorted(path for _, path, _ in contract.operations())


def test_the_browser_had_nothing_to_complain_of(rendered: tuple[str, str]) -> None:
    complaints = [line for line in rendered[1].splitlines() if ":CONSOLE" in line]
    assert complaints == []
    assert "Unable to render" not in rendered[0]


def test_the_page_names_nothing_from_elsewhere(stack: RunningStack) -> None:
    with httpx.Client(base_url=stack.client.url, trust_env=False) as http:
        page = http.get("/docs")
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert {name.partition("/")[0] for name in named} == {"data:,", "docs", "openapi.json"}
        for name in named:
            if name.startswith("docs/"):
                assert http.get(f"/{name}").status_code == 200
        assert http.get("/docs/nothing.js").status_code == 404
