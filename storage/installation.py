"""What a bucket knows of the installation it belongs to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, cast

from jobs.errors import Unavailable
from jobs.names import SYSTEM
from storage.objects import ObjectMissing, ObjectStore


@dataclass(frozen=True)
class Installation:
    """The installation's own secrets. They live in the store, so that losing Redis does not change them."""

    idempotency_secret: bytes  #: key of the HMAC that turns an Idempotency-Key into a job id

    @property
    def id(self) -> str:
        """Names the installation, without giving the secret away."""
        return hashlib.sha256(b"installation:" + self.idempotency_secret).hexdigest()[:16]

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
