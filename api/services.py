"""What the API's routes work with, made once per process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

from flask import Flask, current_app, g

from api.changes import ChangeHub
from api.snapshots import Snapshots
from jobs.kinds import KindRegistry
from jobs.settings import Settings
from storage.acceptance import Acceptance
from storage.audit import AuditLog
from storage.broker import Broker
from storage.files import FileTable
from storage.firing import Firings
from storage.grouped import GroupedReads
from storage.installation import Installation
from storage.joining import Joining
from storage.keys import Admitted, ApiKey, KeyRing
from storage.ledger import Ledger, Told
from storage.ledger.events import Position
from storage.objects import ObjectStore
from storage.previews import Previews
from storage.registry import Registry
from storage.schedules import ScheduleBook
from storage.submission import Submissions
from storage.tenants import TenantTable
from storage.uploads import UploadTable
from storage.usage import RequestCounter, UsageBook

_NAME = "textmill"


@dataclass(frozen=True, kw_only=True)
class Services:
    """Connections, settings and kinds of one API process."""

    settings: Settings
    store: ObjectStore
    ledger: Ledger
    broker: Broker
    kinds: KindRegistry
    installation: Installation

    @cached_property
    def keys(self) -> KeyRing:
        return KeyRing(self.store, self.ledger)

    @cached_property
    def tenants(self) -> TenantTable:
        return TenantTable(self.store, self.ledger)

    @cached_property
    def usage(self) -> UsageBook:
        return UsageBook(self.store, self.ledger)

    @cached_property
    def requests(self) -> RequestCounter:
        return RequestCounter(self.ledger)

    @cached_property
    def audit(self) -> AuditLog:
        return AuditLog(self.store, self.ledger)

    @cached_property
    def snapshots(self) -> Snapshots:
        return Snapshots(self.ledger.jobs)

    @cached_property
    def event_reads(self) -> GroupedReads[tuple[str, Position], Told]:
        return GroupedReads(self.ledger.events.read)

    @cached_property
    def changes(self) -> ChangeHub:
        # No tenant may keep so many calls waiting that others find no connection.
        return ChangeHub(self.ledger.events, most=max(1, self.settings.api_connections // 2))

    @cached_property
    def files(self) -> FileTable:
        return FileTable(self.store)

    @cached_property
    def uploads(self) -> UploadTable:
        return UploadTable(self.store, self.files)

    @cached_property
    def joining(self) -> Joining:
        return Joining(self.store, self.files, self.uploads, self.settings.max_upload_bytes)

    @cached_property
    def registry(self) -> Registry:
        return Registry(self.store)

    @cached_property
    def acceptance(self) -> Acceptance:
        return Acceptance(self.settings, self.kinds, self.store, self.ledger)

    @cached_property
    def submissions(self) -> Submissions:
        return Submissions(self.store, self.ledger, self.broker, self.installation)

    @cached_property
    def schedules(self) -> ScheduleBook:
        return ScheduleBook(self.store, self.ledger)

    @cached_property
    def previews(self) -> Previews:
        return Previews(self.schedules, self.ledger, self.submissions, self.acceptance)

    @cached_property
    def firings(self) -> Firings:
        return Firings(self.store, self.ledger, self.submissions, self.acceptance)


def services() -> Services:
    """The services of the application that serves this request."""
    return services_of(current_app)


def services_of(app: Flask) -> Services:
    """The services of an application."""
    return cast(Services, app.extensions[_NAME])


def caller() -> ApiKey:
    """The key that this request came with; only behind authentication."""
    return admitted().key


def admitted() -> Admitted:
    """What was found out when this request was let in; only behind authentication."""
    return cast(Admitted, g.admitted)
