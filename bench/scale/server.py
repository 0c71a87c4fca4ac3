"""A Valkey of the benchmark's own, configured as the embedded one is, without an object store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.ids import new_token
from jobs.settings import Settings
from server.ports import free_ports
from server.supervisor import Supervisor
from server.valkey import valkey, valkey_url
from storage.ledger import Ledger, new_epoch
from storage.ledger.scripts import LedgerClient


@contextmanager
def scratch_server() -> Iterator[LedgerClient]:
    """A connection to a fresh server, which is gone afterwards with all that it held."""
    with tempfile.TemporaryDirectory(prefix="textmill-scale-") as name:
        folder = Path(name)
        (port,) = free_ports(1)
        password = new_token()
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            spec = valkey(folder / "data", port=port, password=password, lock=lock)
            with Supervisor([spec], folder / "logs", lambda _event: None):
                url = valkey_url(port, password)
                client = LedgerClient.connect(
                    Settings.from_environment({"TEXTMILL_REDIS_URL": url})
                )
                try:
                    yield client
                finally:
                    client.close()
        finally:
            os.close(lock)


def make_empty(client: LedgerClient) -> None:
    """An empty ledger that is whole."""
    client.redis.flushdb()
    ledger = Ledger(client, 1)
    token = new_token()
    if not ledger.restoring.lock(token):
        raise RuntimeError("somebody else uses this ledger")
    ledger.restoring.complete(token, new_epoch("scale"))
