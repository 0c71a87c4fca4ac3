"""``doctor``: what is configured, what works, and how to mend what does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from textmill.cli.common import Session, connected
from textmill.client import Textmill
from textmill.config import Found, find_config, mask
from textmill.errors import ApiError, ConfigError, Forbidden, TextmillError, Unauthenticated
from textmill.retry import RetryPolicy
from textmill.wording import plain, plural

#: A patient that does not answer at once is ill.
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str  #: what was found
    fix: str | None = None  #: how to mend it


@click.command(short_help="Check configuration and server; say how to mend them.")
@connected
def doctor(session: Session, /) -> None:
    """Check the configuration and the server, and say how to mend what is wrong."""
    checks = list(examine(session.url, session.api_key))
    ok = all(check.ok for check in checks)
    report = {"ok": ok, "checks": [asdict(check) for check in checks]}
    session.show(report, _table(checks))
    if not ok:
        raise click.exceptions.Exit(1)


def examine(url: str | None, api_key: str | None) -> Iterator[Check]:
    """All checks, as far as each makes sense after the one before."""
    try:
        found = find_config(url, api_key)
    except ConfigError as error:
        yield Check(name="configuration", ok=False, detail=error.detail, fix=_SET_URL)
        return
    checks = list(_configured(found))
    yield from checks
    if not all(check.ok for check in checks):
        return
    with Textmill(url, api_key, timeout=_PATIENCE_SECONDS, retry=RetryPolicy(attempts=1)) as tm:
        reached = _reached(tm)
        yield reached
        if not reached.ok:
            return
        yield from _ready(tm)
        accepted = _key(tm)
        yield accepted
        if accepted.ok:
            yield _workers(tm)


_SET_URL = (
    "Set TEXTMILL_URL and TEXTMILL_API_KEY, or run where `textmill-server up` keeps its data: "
    "it writes ./.textmill/client.toml"
)
_MAKE_KEY = "Make a key with `textmill-server keys create` and set TEXTMILL_API_KEY"


def _configured(found: Found) -> Iterator[Check]:
    if found.url is None:
        yield Check(name="server URL", ok=False, detail="not configured", fix=_SET_URL)
    else:
        yield Check(
            name="server URL", ok=True, detail=f"{found.url.value} (from {found.url.source})"
        )
    if found.api_key is None:
        yield Check(name="API key", ok=False, detail="not configured", fix=_MAKE_KEY)
    else:
        shown = f"{mask(found.api_key.value)} (from {found.api_key.source})"
        yield Check(name="API key", ok=True, detail=shown)
    if found.url is not None and found.api_key is not None:
        try:
            found.require()
        except ConfigError as error:
            yield Check(name="configuration", ok=False, detail=error.detail, fix=_SET_URL)


def _reached(tm: Textmill) -> Check:
    name = "server reachable"
    try:
        health = tm.healthy()
    except ApiError as error:
        fix = "Is this URL a Textmill server's? Look at its log: it answers, but with an error"
        return Check(name=name, ok=False, detail=error.detail, fix=fix)
    except TextmillError as error:
        fix = "Start the server (`textmill-server up`), or correct the URL"
        return Check(name=name, ok=False, detail=error.detail, fix=fix)
    detail = "alive" if health.ok else "answers, but says that it is not well"
    return Check(name=name, ok=health.ok, detail=detail, fix=None if health.ok else "See its log")


def _ready(tm: Textmill) -> Iterator[Check]:
    try:
        health = tm.ready()
        ok, checks, detail = health.ok, health.checks, "ready"
    except ApiError as error:
        listed = error.raw.get("checks")
        ok, checks = False, listed if isinstance(listed, Mapping) else {}
        detail = error.detail
    except TextmillError as error:
        ok, checks, detail = False, {}, error.detail
    for name, state in checks.items():
        good = _good(state)
        fix = None if good else f"Look at {name} and the server's log; nothing is lost meanwhile"
        yield Check(name=f"server: {name}", ok=good, detail=_said(state), fix=fix)
    if not checks or ok == any(not _good(state) for state in checks.values()):
        fix = None if ok else "Look at the server's log"
        yield Check(name="server ready", ok=ok, detail=detail if not ok else "ready", fix=fix)


def _good(state: Any) -> bool:
    if isinstance(state, Mapping):
        state = state.get("status", state.get("ok"))
    return state is True or str(state).lower() in ("ok", "ready", "up")


def _said(state: Any) -> str:
    if isinstance(state, Mapping):
        said = {key: value for key, value in state.items() if value not in (None, "")}
        return ", ".join(f"{key} {value}" for key, value in said.items())
    return "ok" if state is True else "not ok" if state is False else str(state)


def _key(tm: Textmill) -> Check:
    name = "API key accepted"
    try:
        tm.jobs.page(limit=1)
    except (Unauthenticated, Forbidden) as error:
        return Check(name=name, ok=False, detail=error.detail, fix=_MAKE_KEY)
    except TextmillError as error:
        fix = "Mend what is wrong above, then look again"
        return Check(name=name, ok=False, detail=error.detail, fix=fix)
    return Check(name=name, ok=True, detail="yes")


def _workers(tm: Textmill) -> Check:
    name = "workers alive"
    try:
        workers = tm.workers.list()
    except TextmillError as error:
        fix = "Look at the server's log"
        return Check(name=name, ok=False, detail=error.detail, fix=fix)
    working = [worker for worker in workers if worker.role == "model"]
    if not working:
        others = plural(len(workers), "worker")
        detail = f"none that computes, {others} of other roles" if workers else "none"
        fix = "Start one with `textmill-server worker`; until then jobs wait and nothing is lost"
        return Check(name=name, ok=False, detail=detail, fix=fix)
    faults = [worker.fault for worker in working if worker.fault]
    if faults:
        detail = f"{len(faults)} of {plural(len(working), 'worker')} cannot compute: {faults[0]}"
        return Check(name=name, ok=False, detail=detail, fix="Mend it and start the workers again")
    devices = ", ".join(sorted({worker.device for worker in working if worker.device}))
    detail = plural(len(working), "worker") + (f" on {devices}" if devices else "")
    return Check(name=name, ok=True, detail=detail)


def _table(checks: list[Check]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for check in checks:
        mark = Text("✓", style="bold green") if check.ok else Text("✗", style="bold red")
        name = Text(plain(check.name), style="" if check.ok else "bold")
        grid.add_row(mark, name, Text(plain(check.detail)))
        if check.fix:
            grid.add_row("", "", Text(f"→ {check.fix}", style="yellow"))
    return grid
