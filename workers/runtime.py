"""What one worker process works with, made once when the process starts."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass, field
from functools import cached_property

from jobs.devices import Device
from jobs.kinds import KindRegistry
from jobs.settings import Settings
from storage.broker import Broker
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Connections, settings and kinds of one worker process."""

    settings: Settings
    store: ObjectStore
    ledger: Ledger
    broker: Broker
    kinds: KindRegistry
    device: Device | None  #: None in control workers
    draining: threading.Event = field(
        default_factory=threading.Event
    )  #: set when it must stop soon

    @cached_property
    def registry(self) -> Registry:
        """The model registry."""
        return Registry(self.store)

    @cached_property
    def worker_id(self) -> str:
        """Names this process among all workers of all hosts."""
        return f"{socket.gethostname()}-{os.getpid()}"
