"""Webhooks by the Standard Webhooks scheme: what a submission says of one, where it goes and how it is signed.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    SerializationInfo,
    field_serializer,
    field_validator,
)

from jobs.addresses import Address, Network, is_reachable
from jobs.errors import InvalidRequest
from jobs.record import JobRecord, rfc3339
from jobs.states import Status

MAX_URL_LENGTH = 2_048

SECRET_PREFIX = "whsec_"  # noqa: S105  (what every secret begins with)

#: Bytes that a secret may have, decoded.
_SECRET_BYTES = range(24, 65)

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]+)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?",
    re.IGNORECASE,
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")

#: A host that ends so is an address and no name (https://url.spec.whatwg.org/#ends-in-a-number-checker). Resolvers read
#: ``127.1``, ``0x7f000001`` and ``017700000001`` as 127.0.0.1.
_NUMERIC = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a webhook goes, taken apart. Nothing else than these parts may be used to connect."""

    scheme: str  #: ``http`` or ``https``
    host: str  #: name in lower case, or address without brackets
    port: int
    path: str  #: with the query

    @property
    def literal(self) -> Address | None:
        """The address, where the host is one."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def host_header(self) -> str:
        """For the header ``Host``: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


_PORTS = {"http": 80, "https": 443}


def parse_target(url: str) -> Target:
    """Take a URL apart, strictly: whatever another program might read otherwise is refused.

    Raises:
        ValueError: with what is wrong. It never repeats the URL, which may hold a password.
    """
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"expected at most {MAX_URL_LENGTH} characters, found {len(url)}")
    if not re.fullmatch(r"[\x21-\x7e]+", url) or "\\" in url:
        raise ValueError(
            "expected printable ASCII without blanks and backslashes; write other names in Punycode"
        )
    if "#" in url:
        raise ValueError("expected no fragment (#)")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("expected https://host/path")
    scheme, authority = match["scheme"].lower(), match["authority"]
    if "@" in authority:
        raise ValueError("expected no user or password in front of the host")
    named = _AUTHORITY.fullmatch(authority)
    port = int(named["port"] or _PORTS[scheme]) if named else 0
    if named is None or not 0 < port < 65_536:
        raise ValueError("expected a host, and at most a port from 1 to 65535 behind it")
    return Target(
        scheme=scheme,
        host=_host(named["host"]),
        port=port,
        path=(match["path"] or "/") + (match["query"] or ""),
    )


def _host(host: str) -> str:
    if host.startswith("["):
        address = ipaddress.IPv6Address(host[1:-1])
        if address.scope_id is not None:
            raise ValueError("expected an address without a zone")
        return str(address)
    labels = host.removesuffix(".").split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError("expected an IPv4 address as four decimal numbers") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("expected the name of a host, or an address")
    return ".".join(labels).lower()


def check_target(
    url: str, *, allow_http: bool, allowed: Iterable[Network], field: str = "webhook.url"
) -> Target:
    """Refuse what this installation delivers nothing to, as far as the URL alone tells.

    A name is not resolved here: what it stands for is checked at each attempt, when it is connected to.

    Raises:
        InvalidRequest: naming the field.
    """
    try:
        target = parse_target(url)
    except ValueError as error:
        raise InvalidRequest.of(field, str(error)) from None
    if target.scheme != "https" and not allow_http:
        raise InvalidRequest.of(
            field, "expected https://; TEXTMILL_WEBHOOK_ALLOW_HTTP is not set here", url
        )
    address = target.literal
    if target.host == "localhost" or target.host.endswith(".localhost"):
        address = ipaddress.IPv4Address("127.0.0.1")
    if address is not None and not is_reachable(address, allowed):
        raise InvalidRequest.of(
            field,
            "expected a public address; no network in TEXTMILL_WEBHOOK_ALLOWED_NETWORKS holds this one",
            url,
        )
    return target


class WebhookSpec(BaseModel):
    """Whom to tell, and how it is signed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    url: str = Field(
        max_length=MAX_URL_LENGTH,
        description="Where the event is posted. `https://`, a public host, no user, no fragment.",
        examples=["https://hooks.example.org/textmill"],
    )
    secret: SecretStr = Field(
        description="What events are signed with (Standard Webhooks): `whsec_` and the base64 of 24 to 64 random "
        "bytes. Never shown again.",
        examples=["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"],
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parse_target(value)
        return value

    @field_validator("secret")
    @classmethod
    def _secret(cls, value: SecretStr) -> SecretStr:
        secret_key(value.get_secret_value())
        return value

    @field_serializer("secret", when_used="json")
    def _kept(self, value: SecretStr, info: SerializationInfo) -> str:
        # Only job.json and revisions of schedules are made of it: they are the places where the secret is kept.
        return value.get_secret_value()


def secret_key(secret: str) -> bytes:
    """The key in a secret.

    Raises:
        ValueError: it has not the form of one. The message does not repeat it.
    """
    expected = "expected whsec_ and the base64 of 24 to 64 bytes"
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(expected)
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(expected) from None
    if len(key) not in _SECRET_BYTES:
        raise ValueError(f"{expected}, found {len(key)} bytes")
    return key


def signature(key: bytes, event_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``: HMAC-SHA256 over id, time and body."""
    message = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def signed_headers(secret: str, event_id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """The scheme's three headers."""
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret_key(secret), event_id, timestamp, body),
    }


def event_id(record: JobRecord) -> str:
    """The id of the event that a generation of a job has ended: the same however often it is told."""
    return f"{record.id}:{record.attempts}:{record.status}"


def is_event_id(value: str, job_id: str) -> bool:
    """Whether a value has the form of an event's id of this job."""
    ends = "|".join(status for status in Status if status.ended)
    return re.fullmatch(rf"{re.escape(job_id)}:[1-9][0-9]{{0,8}}:({ends})", value) is not None


def schedule_event_id(schedule_id: str, what: str, of: str) -> str:
    """The id of what happened to a schedule, such as ``late``; ``of`` says which time that was."""
    return f"{schedule_id}:{what}:{of}"


def is_schedule_event_id(value: str, schedule_id: str) -> bool:
    """Whether a value has the form of an event's id of this schedule."""
    what = "late|recovered|paused|run_failed"
    return re.fullmatch(rf"{re.escape(schedule_id)}:({what}):[0-9]{{1,13}}m?", value) is not None


def schedule_event(what: str, at: int, data: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the event that something happened to a schedule, in ms."""
    return {"type": f"schedule.{what}", "timestamp": rfc3339(at), "data": dict(data)}


def event(record: JobRecord) -> dict[str, Any]:
    """The body of the event that a job has ended."""
    return {
        "type": f"job.{record.status}",
        "timestamp": rfc3339(record.ended_at),
        "data": record.public(),
    }


def event_body(made: Mapping[str, Any]) -> bytes:
    """An event as it is sent: always the same bytes."""
    return orjson.dumps(made)
