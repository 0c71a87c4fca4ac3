"""Aliases of registered models: each is the list of its moves, of which the newest counts.

A move is one object that is created only if none has its number, so of several movers at once each gets a number of its
own and none is lost. Numbers count down in the objects' names: the newest is the first that a listing gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, cast

import orjson

from jobs.errors import Unavailable
from jobs.ids import new_token
from jobs.names import TenantNames
from storage.objects import ObjectStore

#: Largest number of a move, and how many digits it has.
_LAST = 10**12 - 1
_DIGITS = 12

#: Times that a move is tried again because others moved the alias meanwhile.
_TRIES = 50

#: Moves that are shown, and among which a repeated call is known again.
RECENT = 50

#: Moves that a rollback looks back over.
HISTORY = 1000


@dataclass(frozen=True, kw_only=True)
class Move:
    """One move of an alias."""

    version: str | None  #: where it points from here on; None: the alias was deleted
    reason: str  #: ``publish``, ``set``, ``rollback`` or ``delete``
    token: str  #: of whoever moved it, to know a repeated call by
    restores: int | None = None  #: number of the move that a rollback went back to
    #: Of ``latest``: how far publications count as seen. Grows only.
    published: str = ""
    number: int = -1  #: from 0 on
    at: str = ""  #: RFC 3339


class AliasTable:
    """The aliases of all models."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def current(self, tenant: str, name: str, alias: str) -> Move | None:
        """The newest move of an alias, which may be its deletion; None where it was never set."""
        return next(self.history(tenant, name, alias), None)

    def history(self, tenant: str, name: str, alias: str) -> Iterator[Move]:
        """Its moves, newest first."""
        for found in self._store.list(TenantNames(tenant).alias(name, alias)):
            yield Move(**cast("dict[str, Any]", self._store.get_json(found.name)))

    def all(self, tenant: str, name: str) -> dict[str, str]:
        """Where the aliases of a model point."""
        prefix = TenantNames(tenant).aliases(name)
        found = {}
        for folder in self._store.list(prefix, recursive=False):
            alias = folder.name.removeprefix(prefix).rstrip("/")
            move = self.current(tenant, name, alias)
            if move is not None and move.version is not None:
                found[alias] = move.version
        return found

    def move(
        self, tenant: str, name: str, alias: str, decide: Callable[[Move | None], Move | None]
    ) -> Move | None:
        """Move an alias; the move that was made.

        Args:
            decide: given the newest move, the one to follow it, or None to leave the alias alone. Asked again where
                somebody else was quicker.

        Raises:
            Unavailable: others move it all the time.
        """
        for _ in range(_TRIES):
            newest = self.current(tenant, name, alias)
            wanted = decide(newest)
            if wanted is None:
                return None
            number = 0 if newest is None else newest.number + 1
            entry = {**asdict(wanted), "number": number, "at": wanted.at or _now()}
            place = f"{TenantNames(tenant).alias(name, alias)}{_LAST - number:0{_DIGITS}d}.json"
            made = Move(**entry)
            # A put whose answer was lost finds itself when it is sent again.
            if self._store.put_once(place, orjson.dumps(entry)) or made == Move(
                **cast("dict[str, Any]", self._store.get_json(place))
            ):
                return made
        raise Unavailable(f"alias {alias} of {name} is being moved by many at once")

    def redirect(
        self,
        tenant: str,
        name: str,
        alias: str,
        target: Callable[[], tuple[str | None, int | None]],
        *,
        token: str | None,
        reason: str,
    ) -> Move:
        """Move an alias because somebody asked for it; the move, also where the same call came before.

        Args:
            tenant: whose model.
            name: of the model.
            alias: of it.
            target: gives the version and, of a rollback, the move that it restores.
            token: names the call; None: it is not repeated.
            reason: as :attr:`Move.reason`.
        """
        done: list[Move] = []
        token = token or new_token()

        def decide(newest: Move | None) -> Move | None:
            recent = islice(self.history(tenant, name, alias), RECENT)
            done[:] = [move for move in recent if move.token == token]
            if done:
                return None
            version, restores = target()
            return Move(
                version=version,
                reason=reason,
                token=token,
                restores=restores,
                published=newest.published if newest else "",
            )

        return self.move(tenant, name, alias, decide) or done[0]

    def earlier(
        self, tenant: str, name: str, alias: str, exists: Callable[[str], bool]
    ) -> Move | None:
        """The move that a rollback goes back to now: see :func:`earlier_move`."""
        moves = {m.number: m for m in islice(self.history(tenant, name, alias), HISTORY)}
        return earlier_move(moves, exists)


def earlier_move(moves: Mapping[int, Move], exists: Callable[[str], bool]) -> Move | None:
    """What was in force before what is in force now, and still exists; None where there is nothing.

    A rollback counts as the move that it restored, so that a second one goes further back and not forth again.

    Args:
        moves: by number, the newest and those before it without a gap.
        exists: whether there still is a version of this name.
    """
    newest = moves[max(moves)]
    number = _restored(newest) - 1
    while (move := moves.get(number)) is not None:
        origin = moves.get(_restored(move), move)
        if origin.version not in {None, newest.version} and exists(str(origin.version)):
            return origin
        number = origin.number - 1
    return None


def _restored(move: Move) -> int:
    return move.number if move.restores is None else move.restores


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
