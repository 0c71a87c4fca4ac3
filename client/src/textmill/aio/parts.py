"""Uploads by parts as :mod:`textmill.parts` makes them, without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from textmill.aio.paging import every
from textmill.aio.transport import AsyncTransport
from textmill.call import Call, Reply, call
from textmill.errors import ConnectionFailed, InvalidRequest, NotFound, Unavailable
from textmill.paging import Page, to_page
from textmill.parcel import (
    AT_ONCE,
    KEPT,
    SEARCHED,
    Parcel,
    Part,
    PartBody,
    checked_upload,
    sha256_of,
)
from textmill.upload import FileBody


class AsyncPartsUpload:
    """One file on its way, read in other threads; see :class:`textmill.parts.PartsUpload`."""

    def __init__(self, transport: AsyncTransport, body: FileBody, filename: str) -> None:
        self._transport = transport
        self._parcel = Parcel(body, filename, transport.policy)

    async def run(self) -> Mapping[str, Any]:
        """Upload what the server does not have yet; the file as the API shows it.

        Raises:
            TransferFailed: the file changed meanwhile, or was damaged on its way.
            ConnectionFailed: the server stayed away.
        """
        try:
            upload = await self._unfinished() or await self._begin()
            digest = await self._send_all(upload["id"], self._parcel.missing(upload))
            return await self._complete(upload["id"], digest)
        except (ConnectionFailed, Unavailable) as error:
            error.hint = KEPT
            raise

    async def _begin(self) -> Mapping[str, Any]:
        reply = await self._transport.send(self._parcel.beginning())
        upload: Mapping[str, Any] = reply.parse(checked_upload)
        self._parcel.report()
        return upload

    async def _unfinished(self) -> Mapping[str, Any] | None:
        looked_at = 0
        async for known in every(self._page):
            if looked_at == SEARCHED:
                break
            looked_at += 1
            if not self._parcel.may_be(known):
                continue
            try:
                reply = await self._transport.send(call("GET", "uploads", known["id"]))
            except NotFound:
                continue  # ended meanwhile
            upload: Mapping[str, Any] = reply.parse(checked_upload)
            if await asyncio.to_thread(self._parcel.goes_on, upload):
                return upload
        return None

    async def _page(self, after: str | None) -> Page[dict[str, Any]]:
        reply = await self._transport.send(self._parcel.listing(after))
        return reply.parse(lambda raw: to_page(raw, dict))

    async def _send_all(self, upload_id: str, parts: list[Part]) -> str:
        """Send the parts; meanwhile hash the whole, in hex."""
        waiting = iter(parts)
        hashing = asyncio.ensure_future(asyncio.to_thread(self._parcel.digest))
        senders = [asyncio.ensure_future(self._send(upload_id, waiting)) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(hashing, *senders)  # the first failure is raised at once
        finally:
            self._parcel.stop.set()
            for task in senders:
                task.cancel()
            await asyncio.gather(hashing, *senders, return_exceptions=True)
        return hashing.result()

    async def _send(self, upload_id: str, waiting: Iterator[Part]) -> None:
        for part in waiting:
            body = PartBody(self._parcel, part)
            reply = await self._patiently(self._parcel.sending(upload_id, part), body)
            body.check(reply.parse(sha256_of))

    async def _patiently(self, request: Call, body: PartBody | None = None) -> Reply:
        """Send, and again for as long as an outage may last."""
        while True:
            try:
                reply = await self._transport.send(request, body)
            except (ConnectionFailed, Unavailable):
                if self._parcel.is_lost():
                    raise
            else:
                self._parcel.heard()
                return reply
            await asyncio.sleep(self._parcel.pause)

    async def _complete(self, upload_id: str, digest: str) -> Mapping[str, Any]:
        self._parcel.heard()
        try:
            reply = await self._patiently(self._parcel.completing(upload_id, digest))
        except InvalidRequest as error:
            changed = self._parcel.changed(error)
            if changed is None:
                raise
            await self._transport.send(call("DELETE", "uploads", upload_id))
            raise changed from error
        raw: Mapping[str, Any] = reply.body
        self._parcel.arrived(digest)
        return raw
