"""``tm.kinds`` and ``tm.workers``: what the server can do, and on what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from textmill.call import Ask, Call, Reply, ask, call
from textmill.job_calls import kind_name
from textmill.paging import Page, parse_time, to_page
from textmill.transport import Transport


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of task that this server can do."""

    name: str
    summary: str = ""
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)  #: their JSON schema
    needs_model: bool = True
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker that reported lately."""

    id: str
    host: str = ""
    device: str = ""
    role: str = "model"  #: ``model`` computes rows; ``control`` plans and finishes jobs
    models: tuple[str, ...] = ()  #: models that it holds in memory
    job: str | None = None  #: the job that it works on
    fault: str | None = None  #: why it cannot compute, where it cannot
    gauges: Mapping[str, Any] = field(default_factory=dict, hash=False)  #: of its GPU; see ``raw``
    process_bytes: int | None = None  #: memory of its process
    seen_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Health:
    """Whether the server is alive, or ready to work."""

    ok: bool
    checks: Mapping[str, Any] = field(default_factory=dict)  #: by name, as the server reports them


def to_kind(raw: Mapping[str, Any]) -> Kind:
    """A kind from the API's object."""
    return Kind(
        name=raw["name"],
        summary=raw.get("summary") or "",
        params=raw.get("params") or {},
        needs_model=bool(raw.get("needs_model", True)),
        raw=raw,
    )


def to_worker(raw: Mapping[str, Any]) -> Worker:
    """A worker from the API's object."""
    device = raw.get("device")
    return Worker(
        id=raw["id"],
        host=raw.get("host") or "",
        device=str(device.get("name", "")) if isinstance(device, Mapping) else str(device or ""),
        role=raw.get("role") or "model",
        models=tuple(str(model) for model in raw.get("models") or ()),
        job=raw.get("job"),
        fault=raw.get("fault"),
        gauges=raw.get("gpu") or {},
        process_bytes=raw.get("process_bytes"),
        seen_at=parse_time(raw.get("seen_at")),
        raw=raw,
    )


#: All kinds.
KINDS = ask(call("GET", "kinds"), lambda raw: to_page(raw, to_kind))
#: All workers that are alive.
WORKERS = ask(call("GET", "workers"), lambda raw: to_page(raw, to_worker))


def health(path: str) -> Ask[Health]:
    """What ``/healthz`` or ``/readyz`` says."""

    def read(reply: Reply) -> Health:
        body = reply.body if isinstance(reply.body, Mapping) else {}
        return Health(ok=body.get("status") == "ok", checks=body.get("checks") or {})

    return Ask(Call(method="GET", path=path, repeatable=True), read)


def pick_kind(kinds: Iterable[Kind], name: str) -> Kind:
    """One of these kinds.

    Raises:
        KeyError: it is not among them.
    """
    return {kind.name: kind for kind in kinds}[kind_name(name)]


class Kinds:
    """The kinds of tasks that the server knows."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def page(self) -> Page[Kind]:
        """All of them, with the API's object as ``raw``."""
        return self._transport.ask(KINDS)

    def list(self) -> tuple[Kind, ...]:
        """All kinds."""
        return self.page().data

    def get(self, name: str) -> Kind:
        """One kind.

        Raises:
            KeyError: the server does not know it.
        """
        return pick_kind(self.list(), name)


class Workers:
    """The workers that are alive."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def page(self) -> Page[Worker]:
        """All of them, with the API's object as ``raw``."""
        return self._transport.ask(WORKERS)

    def list(self) -> tuple[Worker, ...]:
        """All workers."""
        return self.page().data
