"""Identifiers: job ids, file ids, API keys and fencing tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time

#: Crockford's base 32, lower case: no letter that is mistaken for a digit.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

#: What follows the kind in an id: 26 of these digits.
ID_PATTERN = "[0-9a-hjkmnp-tv-z]{26}"

_ID = re.compile(f"(job|file|key|upload|schedule)_{ID_PATTERN}")


def _encode(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def new_id(kind: str) -> str:
    """A fresh id such as ``job_01m3…``: 48 bits of milliseconds, then 80 random bits, in 26 characters.

    The layout is that of a ULID (https://github.com/ulid/spec), so ids sort by time of making.
    """
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return f"{kind}_{_encode(number, 26)}"


def idempotent_job_id(secret: bytes, tenant: str, idempotency_key: str) -> str:
    """The job id that belongs to a tenant's ``Idempotency-Key``: always the same one.

    HMAC-SHA256 over both, cut to 128 bits, so that no table of keys can be lost and ids cannot be guessed.
    """
    message = f"{len(tenant)}:{tenant}:{idempotency_key}".encode()
    digest = hmac.new(secret, message, hashlib.sha256).digest()
    return f"job_{_encode(int.from_bytes(digest[:16]), 26)}"


def idempotent_schedule_id(secret: bytes, tenant: str, idempotency_key: str) -> str:
    """The schedule id that belongs to a tenant's ``Idempotency-Key``."""
    made = idempotent_job_id(secret, tenant, f"schedule {idempotency_key}")
    return f"schedule_{made.removeprefix('job_')}"


def is_id(value: str, kind: str) -> bool:
    """Whether ``value`` has the form of an id of this kind (``job``, ``file``, ``key``, ``upload`` or
    ``schedule``)."""
    match = _ID.fullmatch(value)
    return match is not None and match[1] == kind


def id_ms(value: str) -> int:
    """When an id of :func:`new_id` was made, in ms since 1970."""
    number = 0
    for digit in value.rpartition("_")[2]:
        number = number * 32 + _ALPHABET.index(digit)
    return number >> 80


def new_token() -> str:
    """A fencing token: 128 random bits in hex, compared only for equality."""
    return secrets.token_hex(16)


def new_api_key() -> tuple[str, str]:
    """A fresh API key: its public id (``key_…``) and the whole key, which is shown once and never stored."""
    key_id = new_id("key")
    secret = base64.urlsafe_b64encode(secrets.token_bytes(24)).decode()
    return key_id, f"tm_{key_id.removeprefix('key_')}_{secret}"


def api_key_id(key: str) -> str | None:
    """The public id inside an API key, or None when it does not have the form of one."""
    match = re.fullmatch(r"tm_([0-9a-hjkmnp-tv-z]{26})_[A-Za-z0-9_-]{32}", key)
    return f"key_{match[1]}" if match else None


def hash_api_key(key: str) -> str:
    """SHA-256 of a key, in hex. Keys carry 192 random bits, so a slow password hash would add nothing."""
    return hashlib.sha256(key.encode()).hexdigest()
