"""API keys of the caller's tenant: the values, the calls, and ``tm.keys``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from textmill.call import Ask, ask, call, given
from textmill.paging import MAX_PAGE, Page, every, parse_time, to_page
from textmill.transport import Transport


@dataclass(frozen=True, kw_only=True)
class Key:
    """One API key, without its secret, which nobody can be shown again."""

    id: str
    name: str = ""
    scopes: tuple[str, ...] = ()  #: what it may do
    created_at: datetime | None = None
    expires_at: datetime | None = None  #: None: never
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None  #: since when it opens nothing
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class NewKey(Key):
    """A key that was just made. Its secret is shown this once."""

    key: str = field(repr=False)  #: what goes into ``TEXTMILL_API_KEY``


def to_key(raw: Mapping[str, Any]) -> Key:
    """A key from the API's object."""
    return Key(**_fields(raw))


def to_new_key(raw: Mapping[str, Any]) -> NewKey:
    """A key that was just made, from the API's object."""
    shown = {name: value for name, value in raw.items() if name != "key"}
    return NewKey(**_fields(shown), key=str(raw["key"]))


def _fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(raw["id"]),
        "name": raw.get("name") or "",
        "scopes": tuple(str(scope) for scope in raw.get("scopes") or ()),
        "created_at": parse_time(raw.get("created_at")),
        "expires_at": parse_time(raw.get("expires_at")),
        "last_used_at": parse_time(raw.get("last_used_at")),
        "revoked_at": parse_time(raw.get("revoked_at")),
        "raw": raw,
    }


def page_of_keys(*, after: str | None = None, limit: int | None = None) -> Ask[Page[Key]]:
    """One page of keys."""
    request = call("GET", "keys", query={"after": after, "limit": limit})
    return ask(request, lambda raw: to_page(raw, to_key))


def create_key(
    *, name: str, scopes: Sequence[str] | None, expires_in_days: int | None
) -> Ask[NewKey]:
    """Make a key. Never repeated when an answer was lost: the secret in it could not be told again."""
    body = {
        "name": name,
        "scopes": None if scopes is None else list(scopes),
        "expires_in_days": expires_in_days,
    }
    return ask(call("POST", "keys", body=given(body)), to_new_key)


def get_key(key_id: str) -> Ask[Key]:
    """One key's record."""
    return ask(call("GET", "keys", key_id), to_key)


def revoke_key(key_id: str) -> Ask[Key]:
    """Revoke a key."""
    return ask(call("DELETE", "keys", key_id), to_key)


class Keys:
    """``tm.keys``: the API keys of the caller's tenant. Needs a key that may manage keys."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def page(self, *, after: str | None = None, limit: int | None = None) -> Page[Key]:
        """One page of keys, oldest first."""
        return self._transport.ask(page_of_keys(after=after, limit=limit))

    def list(self) -> Iterator[Key]:
        """All keys, oldest first; those that were revoked too."""
        return every(lambda after: self.page(after=after, limit=MAX_PAGE))

    def create(
        self,
        *,
        name: str,
        scopes: Sequence[str] | None = None,
        expires_in_days: int | None = None,
    ) -> NewKey:
        """Make a key. Its ``key`` is shown this once.

        Args:
            name: for people: what it is for.
            scopes: what it may do, such as ``jobs:read``; by default all that the caller's own key may.
            expires_in_days: by default it lives as long as the caller's own key.

        Raises:
            Forbidden: it should do what the caller's own key may not.
            ConnectionFailed: the answer was lost. A key may have been made: :meth:`list` shows it, to be revoked.
        """
        return self._transport.ask(
            create_key(name=name, scopes=scopes, expires_in_days=expires_in_days)
        )

    def get(self, key_id: str) -> Key:
        """One key's record."""
        return self._transport.ask(get_key(key_id))

    def revoke(self, key_id: str) -> Key:
        """Revoke a key: it opens nothing from now on. Its record stays."""
        return self._transport.ask(revoke_key(key_id))
