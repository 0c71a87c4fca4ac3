"""The page ``/schedules`` in a real browser that reaches nothing but the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import Browser
from tests.integration.stack.running import RunningStack
from textmill import Schedule, Textmill

JOB: dict[str, Any] = {"kind": "echo", "input": {"items": [{"text": "a"}, {"text": "refuse b"}]}}
AGAIN = {"kind": "echo", "input": {"text_field": "output.text"}}
WILD = "<img src=x onerror=document.title='hurt'> & </h2><script>document.title='hurt'</script>"
MISSING = "s3://corpora/nothing-lies-here/"

TEXT = "document.getElementById('main').innerText"
ASKS = "!document.getElementById('key-form').hidden"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture(scope="module")
def nightly(tm: Textmill, browser: Browser) -> Iterator[Schedule]:
    """In another zone, with one run that completed."""
    assert browser
    made = tm.schedules.create(
        job={**JOB, "params": {"fail_on": "refuse"}},
        cron="30 2 * * *",
        timezone="Asia/Kathmandu",
        name="page-nightly",
        incremental=True,
        then=[{"name": "again", "job": AGAIN, "when": {"max_errors": 0}}],
    )
    run = tm.schedules.trigger(made.id)
    assert run.job is not None
    assert tm.schedules.wait(run, timeout=120).status == "completed"
    yield made
    tm.schedules.delete(made.id)


@pytest.fixture(scope="module")
def wild(tm: Textmill, browser: Browser) -> Iterator[Schedule]:
    """Whose name would be elements, and whose runs fail."""
    assert browser
    job = {"kind": "echo", "input": {"uri": MISSING}}
    made = tm.schedules.create(job=job, every=7200, name=WILD)
    tm.schedules.trigger(made.id)
    yield made
    tm.schedules.delete(made.id)


def enter(browser: Browser, stack: RunningStack, key: str, part: str = "") -> None:
    """Open the page as somebody who has never been there, and give a key."""
    browser.open(f"{stack.client.url}/docs/start.js")  # the same origin, without the page's scripts
    browser.wait_for("location.pathname === '/docs/start.js'")
    browser.ask("sessionStorage.clear()")
    browser.open(f"{stack.client.url}/schedules{part}")
    browser.wait_for(f"document.getElementById('key-form') !== null && {ASKS}")
    browser.ask(f"document.getElementById('key').value = {json.dumps(key)}")
    browser.click("Show schedules")


def test_a_key_is_asked_for_once_and_checked(stack: RunningStack, browser: Browser) -> None:
    enter(browser, stack, "tm_wrong")
    browser.wait_for("document.getElementById('trouble').textContent.includes('not valid')")
    assert browser.ask(ASKS)
    assert browser.ask("sessionStorage.length") == 0
    enter(browser, stack, stack.client.api_key)
    browser.wait_for("document.getElementById('key-form').hidden")
    browser.wait_for("!document.getElementById('forget').hidden")
    browser.send("Page.reload")
    browser.wait_for("document.getElementById('updated')?.textContent.startsWith('as of')")
    assert not browser.ask(ASKS)
    browser.click("Forget key")
    browser.wait_for(ASKS)
    assert browser.ask("sessionStorage.length") == 0
    assert browser.ask(TEXT) == ""


def test_schedules_are_listed_with_their_last_runs(
    stack: RunningStack, browser: Browser, nightly: Schedule, wild: Schedule
) -> None:
    enter(browser, stack, stack.client.api_key)
    for schedule, word in ((nightly, "completed, "), (wild, "failed, ")):
        card = f"document.querySelector('[data-focus={json.dumps(schedule.id)}]').closest('li')"
        browser.wait_for(f"!!document.querySelector('[data-focus={json.dumps(schedule.id)}]')")
        label = browser.wait_for(f"{card}.querySelector('.dot')?.getAttribute('aria-label')")
        if not label.startswith(word):  # it was open when it was looked at
            browser.wait_for(
                f"{card}.querySelector('.dot').getAttribute('aria-label').startsWith({word!r})"
            )
    shown = browser.ask(TEXT)
    assert "30 2 * * * (Asia/Kathmandu)" in shown
    assert "every 2 hours" in shown
    assert "2:30" in shown
    assert WILD in shown
    assert browser.ask("document.title") == "Textmill schedules"
    assert browser.ask("document.querySelectorAll('main img, main script').length") == 0
    assert browser.complaints == []


def test_one_is_shown_with_its_history(
    stack: RunningStack, browser: Browser, nightly: Schedule, wild: Schedule
) -> None:
    enter(browser, stack, stack.client.api_key)
    browser.click("page-nightly")
    shown = browser.wait_for(f"{TEXT}.includes('1 of 2 rows done, 1 failed') && {TEXT}")
    assert "2 rows computed, 2 new" in shown
    assert "again: skipped (" in shown
    assert "(triggered)" in shown
    assert "times in Asia/Kathmandu" in shown
    assert browser.ask("document.querySelectorAll('main ol > li').length") == 5
    browser.click("← All schedules")
    browser.click(WILD)
    shown = browser.wait_for(f"{TEXT}.includes('input_missing') && {TEXT}")
    assert f"nothing lies at {MISSING}" in shown
    assert browser.complaints == []


def test_what_changes_a_schedule_is_asked_back(
    tm: Textmill, stack: RunningStack, browser: Browser, nightly: Schedule
) -> None:
    enter(browser, stack, stack.client.api_key, f"#{nightly.id}")
    browser.click("Pause")
    assert "page-nightly" in browser.ask("document.getElementById('confirm-text').textContent")
    browser.click("Cancel")
    browser.wait_for("!document.getElementById('confirm').open")
    assert tm.schedules.get(nightly.id).raw["paused"] is None
    browser.click("Pause")
    browser.click("Yes")
    browser.wait_for(f"{TEXT}.includes('paused on request')")
    assert tm.schedules.get(nightly.id).raw["paused"]["code"] == "asked"
    browser.click("Resume")
    browser.click("Yes")
    browser.wait_for("document.querySelector('.state').textContent === 'on'")
    before = browser.ask("document.querySelectorAll('tbody tr').length")
    browser.click("Trigger")
    browser.click("Yes")
    browser.wait_for(f"document.querySelectorAll('tbody tr').length === {before + 1}")
    # By itself it sees that the run ended.
    browser.wait_for(f"!{TEXT}.includes('open')")
    assert len(list(tm.schedules.runs(nightly.id))) == before + 1
    assert browser.complaints == []


def test_a_key_that_may_only_look_is_told_so(
    tm: Textmill, stack: RunningStack, browser: Browser, nightly: Schedule
) -> None:
    made = tm.keys.create(name="page-looker", scopes=["jobs:read"])
    enter(browser, stack, made.key, f"#{nightly.id}")
    browser.click("Pause")
    browser.click("Yes")
    browser.wait_for("document.getElementById('trouble').textContent.includes('jobs:write')")
    assert tm.schedules.get(nightly.id).raw["paused"] is None
