"""A day's folder in a bucket of somebody else's, and the one job whose output it shows.

Several may write to a folder: two runs of a day, a retry, two finalizers of one job of which one was thought dead. The
newest turn wins (:class:`jobs.editions.Turn`). Who writes says so in ``_writer.json``, which is replaced only over the
version that was read, and names there each upload before it completes it; who takes over drops those uploads before
anything else. So at no moment is there a ``_SUCCESS`` beside anything but the edition that it names, and what
``_latest.json`` names is there and whole. Each step may be taken twice, and gone on with after a death at any moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO

import structlog

from jobs.editions import (
    LATEST,
    SUCCESS,
    WRITER,
    Claim,
    Edition,
    NotOurs,
    Turn,
    owner_of,
    turn_in,
)
from jobs.errors import Unavailable
from jobs.outtake import Cut
from jobs.s3uri import S3Pattern
from storage.objects import ObjectChanged, ObjectMissing, ObjectStore

log = structlog.get_logger(__name__)

#: Times that a change is tried again because others change the same object.
_TRIES = 20


class Superseded(Exception):
    """A newer run has the folder."""

    def __init__(self, turn: Turn) -> None:
        super().__init__(turn.job)
        self.turn = turn


class DayFolder:
    """The folder of one day below one URI."""

    def __init__(self, store: ObjectStore, uri: str, date: str) -> None:
        place = S3Pattern.parse(uri)
        self._store = store.in_bucket(place.bucket)
        self._root = place.pattern
        self._folder = f"{place.pattern}date={date}/"
        self._date = date
        self.uri = f"{uri}date={date}/"

    # --- asking --------------------------------------------------------------------------------------

    def shown(self) -> Turn | None:
        """Whose edition the folder holds, whole; None while it holds none, or more.

        Raises:
            NotOurs: somebody else keeps a ``_SUCCESS`` there.
        """
        try:
            return turn_in(self._store.get(self._folder + SUCCESS), SUCCESS)
        except ObjectMissing:
            return None

    def latest(self) -> Turn | None:
        """Which edition is the newest of all days.

        Raises:
            NotOurs: somebody else keeps an object of that name.
        """
        return self._latest()[0]

    # --- writing -------------------------------------------------------------------------------------

    def claim(self, turn: Turn, cut: Cut) -> Writing:
        """Begin to write to the folder, or go on.

        Args:
            turn: whose edition.
            cut: into which parts, unless it was begun before.

        Raises:
            Superseded: a newer one has begun, or is there.
            NotOurs: somebody else uses one of the names.
            ObjectMissing: there is no such bucket.
            Unavailable: the store does not take it.
        """
        self.latest()  # while nothing is touched yet
        self.shown()
        for _ in range(_TRIES):
            known, etag = self._claim()
            if known is not None and known.turn > turn:
                raise Superseded(known.turn)
            if known is not None and known.turn == turn:
                return Writing(self._store, self._root, self._folder, known, etag)
            revoked = () if known is None else (*known.revoked, *known.uploads)
            wanted = Claim(turn=turn, cut=cut, revoked=revoked)
            _swap(self._store, self._folder + WRITER, wanted.to_json(), etag)
        raise Unavailable(f"{self.uri} is being written to by many at once")

    def remove(self, job_id: str) -> bool:
        """Remove what a job wrote, of all its attempts; False where ``_latest.json`` names it, which is left whole.

        What anybody else put there stays.

        Raises:
            NotOurs, ObjectMissing, Unavailable: as :meth:`claim` does.
        """
        latest = self.latest()
        if latest is not None and (latest.date, latest.job) == (self._date, job_id):
            return False
        with suppress(NotOurs):
            shown = self.shown()
            if shown is not None and shown.job == job_id:
                self._store.delete(self._folder + SUCCESS)
        others = False
        for name in self._names():
            if owner_of(name) == job_id:
                self._store.delete(self._folder + name)
            elif owner_of(name) is not None:
                others = True
        known, _ = self._claim()
        if known is not None and known.turn.job == job_id and not others:
            for name, upload in (*known.revoked, *known.uploads):
                _drop(self._store, self._folder + name, upload)
            self._store.delete(self._folder + WRITER)
        return True

    # --- inside --------------------------------------------------------------------------------------

    def _claim(self) -> tuple[Claim | None, str]:
        try:
            data, etag = self._store.get_version(self._folder + WRITER)
        except ObjectMissing:
            return None, ""
        return Claim.from_json(data), etag

    def _latest(self) -> tuple[Turn | None, str]:
        try:
            data, etag = self._store.get_version(self._root + LATEST)
        except ObjectMissing:
            return None, ""
        return turn_in(data, LATEST), etag

    def _names(self) -> Iterator[str]:
        for found in self._store.list(self._folder, recursive=False):
            yield found.name.removeprefix(self._folder)


class Writing(DayFolder):
    """A folder whose turn to be written to is this one's, as long as nobody newer comes."""

    def __init__(self, store: ObjectStore, root: str, folder: str, claim: Claim, etag: str) -> None:
        self._store = store
        self._root = root
        self._folder = folder
        self._date = claim.turn.date
        self.uri = f"s3://{store.bucket}/{folder}"
        self._held, self._etag = claim, etag
        self._completed: set[str] = set()
        self.turn = claim.turn
        self.cut = claim.cut

    def begin(self) -> bool:
        """Make sure that nothing of earlier writers can appear any more; whether there is anything to be written.

        Raises:
            Unavailable: the store does not take it.
        """
        for name, upload in self._held.revoked:
            _drop(self._store, self._folder + name, upload)
        shown = self.shown()
        if shown is not None and shown != self.turn:
            self._store.delete(self._folder + SUCCESS)
        return shown != self.turn

    def publish(self, name: str, content: BinaryIO, content_type: str) -> int:
        """Write an object of the edition; its size. Repeated, it is replaced by the same bytes at one stroke.

        Raises:
            Superseded: a newer one has begun. The object is not there.
            Unavailable: the store does not take it.
        """
        target = self._folder + name
        upload = self._store.begin_upload(target, content_type)
        try:
            self._register(name, upload)
            etags, size = self._store.fill_upload(target, upload, content)
            if size:
                self._store.complete_upload(target, upload, etags)
            else:
                # Not every server takes an empty part. One that comes late says nothing, whoever reads it.
                self._store.abort_upload(target, upload)
                self._store.put(target, b"", content_type)
        except ObjectMissing as error:
            self._confirm()
            raise Unavailable(f"the object store dropped an upload of {name}") from error
        except BaseException:
            with suppress(Unavailable, ObjectMissing):
                self._store.abort_upload(target, upload)
            raise
        self._completed.add(upload)
        return size

    def point_latest(self, edition: Edition) -> None:
        """Let ``_latest.json`` name the edition, which is whole, unless it names a newer one.

        Raises:
            NotOurs, Unavailable: as :meth:`claim` does.
        """
        for _ in range(_TRIES):
            known, etag = self._latest()
            if known is not None and known >= edition.turn:
                return
            if _swap(self._store, self._root + LATEST, edition.to_json(), etag):
                return
        raise Unavailable(f"{LATEST} is being replaced by many at once")

    def clear(self, edition: Edition) -> None:
        """Remove what others, all older, wrote to the folder; what is nobody's edition stays.

        Raises:
            Superseded: a newer one has begun.
        """
        own = {part.name for part in (*edition.parts, edition.errors)}
        old = [name for name in self._names() if owner_of(name) is not None and name not in own]
        # Listed first: what somebody newer writes comes after its claim, and is not among these.
        self._confirm()
        for name in old:
            self._store.delete(self._folder + name)

    # --- inside --------------------------------------------------------------------------------------

    def _register(self, name: str, upload: str) -> None:
        """Name an upload in the claim before anything of it can be seen."""
        for _ in range(_TRIES):
            held = self._held
            open_ = tuple(one for one in held.uploads if one[1] not in self._completed)
            wanted = replace(held, uploads=(*open_, (name, upload)), revoked=())
            if _swap(self._store, self._folder + WRITER, wanted.to_json(), self._etag):
                self._confirm()
                return
            # Somebody newer has it, or another finalizer of the same job named one of its own.
            self._confirm()
        raise Unavailable(f"{WRITER} is being replaced by many at once")

    def _confirm(self) -> None:
        """Read the claim again.

        Raises:
            Superseded: a newer one has begun.
            Unavailable: it is gone. Whoever removed an older edition from the folder took it along; claim again.
        """
        known, etag = self._claim()
        if known is None or known.turn < self.turn:
            raise Unavailable(f"{WRITER} was removed")
        if known.turn != self.turn:
            raise Superseded(known.turn)
        self._held, self._etag = known, etag


def _swap(store: ObjectStore, name: str, data: bytes, etag: str) -> bool:
    """Replace an object over a version of it, or write one where none is; False when it was another."""
    try:
        if etag:
            store.replace(name, data, etag)
            return True
        if store.put_once(name, data):
            return True
    except ObjectChanged:
        pass
    # A put whose answer was lost finds itself when it is sent again.
    try:
        return store.get(name) == data
    except ObjectMissing:
        return False


def _drop(store: ObjectStore, name: str, upload: str) -> None:
    with suppress(ObjectMissing):
        store.abort_upload(name, upload)
