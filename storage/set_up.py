"""Bucket and ledger at a role's start: the first one ever, and the one after Redis was lost."""

from __future__ import annotations

import secrets

import orjson

from jobs.errors import Unavailable
from jobs.names import SYSTEM
from storage.installation import Installation
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.rebuild import rebuild


def set_up(store: ObjectStore, ledger: Ledger) -> Installation:
    """Make sure that bucket and ledger belong together; every role may call this at its start.

    A first start, on a bucket without an installation, makes both. An empty ledger beside a bucket with jobs is built
    again from the bucket, by one of those that come.

    Raises:
        Unavailable: the ledger is another installation's or is being built; Redis may evict keys; or either is away.
    """
    ledger.require_noeviction()
    store.ensure_bucket()
    fresh = {"format": 1, "idempotency_secret": secrets.token_hex(32)}
    store.put_once(SYSTEM, orjson.dumps(fresh))
    installation = Installation.load(store)
    epoch = ledger.epoch()
    if epoch is None:
        rebuild(store, ledger, installation.id)
    elif epoch.partition(".")[0] != installation.id:
        raise Unavailable(
            "this Redis holds the ledger of another installation: its bucket is not this one"
        )
    return installation
