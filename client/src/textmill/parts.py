"""Uploads of large files by parts: several at once, gone on with after a break, also by another process."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

from textmill.call import Call, Reply, call
from textmill.errors import ConnectionFailed, InvalidRequest, NotFound, Unavailable
from textmill.paging import every, to_page
from textmill.parcel import (
    AT_ONCE,
    KEPT,
    SEARCHED,
    Parcel,
    Part,
    PartBody,
    Stopped,
    checked_upload,
    sha256_of,
)
from textmill.transport import Transport
from textmill.upload import FileBody


class PartsUpload:
    """One file on its way.

    Args:
        transport: to the server.
        body: the file, seekable.
        filename: what the server calls it.
    """

    def __init__(self, transport: Transport, body: FileBody, filename: str) -> None:
        self._transport = transport
        self._parcel = Parcel(body, filename, transport.policy)

    def run(self) -> Mapping[str, Any]:
        """Upload what the server does not have yet; the file as the API shows it.

        Raises:
            TransferFailed: the file changed meanwhile, or was damaged on its way.
            ConnectionFailed: the server stayed away.
        """
        try:
            upload = self._unfinished() or self._begin()
            digest = self._send_all(upload["id"], self._parcel.missing(upload))
            return self._complete(upload["id"], digest)
        except (ConnectionFailed, Unavailable) as error:
            error.hint = KEPT
            raise

    def _begin(self) -> Mapping[str, Any]:
        upload: Mapping[str, Any] = self._transport.send(self._parcel.beginning()).parse(
            checked_upload
        )
        self._parcel.report()
        return upload

    def _unfinished(self) -> Mapping[str, Any] | None:
        """An earlier upload of this very file, whose parts are noted as sent."""
        pages = every(
            lambda after: self._transport.send(self._parcel.listing(after)).parse(
                lambda raw: to_page(raw, dict)
            )
        )
        for known in islice(pages, SEARCHED):
            if not self._parcel.may_be(known):
                continue
            try:
                upload: Mapping[str, Any] = self._transport.send(
                    call("GET", "uploads", known["id"])
                ).parse(checked_upload)
            except NotFound:
                continue  # ended meanwhile
            if self._parcel.goes_on(upload):
                return upload
        return None

    def _send_all(self, upload_id: str, parts: list[Part]) -> str:
        """Send the parts; meanwhile hash the whole, in hex."""
        pool = ThreadPoolExecutor(AT_ONCE, "textmill-upload")
        try:
            futures = [pool.submit(self._send, upload_id, part) for part in parts]
            digest = self._parcel.digest()
            _settle(futures)
            return digest
        finally:
            self._parcel.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _send(self, upload_id: str, part: Part) -> None:
        body = PartBody(self._parcel, part)
        try:
            body.check(
                self._patiently(self._parcel.sending(upload_id, part), body).parse(sha256_of)
            )
        except BaseException:
            self._parcel.stop.set()
            raise

    def _patiently(self, request: Call, body: PartBody | None = None) -> Reply:
        """Send, and again for as long as an outage may last."""
        while True:
            stopped = self._parcel.stop.is_set()
            try:
                reply = self._transport.send(request, body)
            except (ConnectionFailed, Unavailable):
                if stopped or self._parcel.is_lost():
                    raise
                self._parcel.stop.wait(self._parcel.pause)
            else:
                self._parcel.heard()
                return reply

    def _complete(self, upload_id: str, digest: str) -> Mapping[str, Any]:
        self._parcel.heard()
        self._parcel.stop.clear()
        try:
            raw: Mapping[str, Any] = self._patiently(
                self._parcel.completing(upload_id, digest)
            ).body
        except InvalidRequest as error:
            changed = self._parcel.changed(error)
            if changed is None:
                raise
            self._transport.send(call("DELETE", "uploads", upload_id))
            raise changed from error
        self._parcel.arrived(digest)
        return raw


def _settle(futures: list[Future[None]]) -> None:
    """Wait until all are done, or raise why one is not."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    failures = [one.exception() for one in done if not one.cancelled()]
    found = [one for one in failures if one is not None]
    for failure in sorted(found, key=lambda one: isinstance(one, Stopped)):
        raise failure
