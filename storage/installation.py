"""What a bucket knows of the installation it belongs to, and the first start on an empty one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, cast

import orjson

from jobs.errors import Unavailable
from jobs.names import SYSTEM
from storage.ledger import Ledger
from storage.objects import ObjectMissing, ObjectStore


@dataclass(frozen=True)
class Installation:
    """The installation's own secrets. They live in the store, so that losing Redis does not change them."""

    idempotency_secret: bytes  #: key of the HMAC that turns an Idempotency-Key into a job id

    @classmethod
    def load(cls, store: ObjectStore) -> Installation:
        """Read them.

        Raises:
            Unavailable: the bucket has not been set up yet.
        """
        try:
            data = cast("dict[str, Any]", store.get_json(SYSTEM))
        except ObjectMissing:
            raise Unavailable("the bucket has not been set up yet") from None
        return cls(bytes.fromhex(data["idempotency_secret"]))


def set_up(store: ObjectStore, ledger: Ledger) -> Installation:
    """Make sure that bucket and ledger belong together; every role may call this at its start.

    A first start, on a bucket without an installation, makes both. A ledger that lost its epoch beside a bucket that
    has one is not begun anew, for it would hide the jobs in the store.

    Raises:
        Unavailable: the bucket belongs to an installation, but the ledger is empty; or Redis may evict keys.
    """
    ledger.require_noeviction()
    store.ensure_bucket()
    fresh = {"format": 1, "idempotency_secret": secrets.token_hex(32)}
    first = store.put_once(SYSTEM, orjson.dumps(fresh))
    if first:
        ledger.begin_epoch()
    installation = Installation.load(store)
    if not ledger.has_epoch():
        # The first starter may have died between the two writes: with no tenant there is nothing to lose.
        if any(True for _ in store.list("tenants/")):
            raise Unavailable(
                "Redis holds no ledger, but the bucket holds jobs: was Redis emptied, or is this another one?"
            )
        ledger.begin_epoch()
    return installation
