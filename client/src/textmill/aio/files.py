"""``tm.files`` of the asynchronous client. What each call means stands in :mod:`textmill.files`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from textmill.aio.download import save, stream_bytes
from textmill.aio.paging import every
from textmill.aio.parts import AsyncPartsUpload
from textmill.aio.transport import AsyncTransport
from textmill.call import Ask, ask, call
from textmill.files import SEARCHED, File, arrived, open_input, to_file, whole
from textmill.paging import MAX_PAGE, Page, to_page
from textmill.parcel import goes_by_parts
from textmill.upload import FileBody, RowsBody, UploadProgress


class AsyncFiles:
    """Upload, list, download and delete files."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def upload(
        self,
        source: str | Path | BinaryIO,
        *,
        filename: str | None = None,
        progress: UploadProgress | None = None,
    ) -> File:
        """Upload a file of any size in bounded memory; see :meth:`textmill.files.Files.upload`.

        It is read in other threads, in which ``progress`` is called too.
        """
        if isinstance(source, (str, Path)):
            path = Path(source)
            with open_input(path) as opened:
                return await self.upload(opened, filename=filename or path.name, progress=progress)
        own = getattr(source, "name", None)
        filename = filename or (Path(own).name if isinstance(own, str) else "upload.jsonl")
        return await self.send(FileBody(source, progress=progress), filename)

    async def send(self, body: FileBody | RowsBody, filename: str) -> File:
        """Upload a body and check that it arrived whole."""
        if goes_by_parts(body):
            file = to_file(await AsyncPartsUpload(self._transport, body, filename).run())
        else:
            file = (await self._transport.send(whole(filename), body)).parse(to_file)
        return arrived(file, body)

    async def page(self, *, after: str | None = None, limit: int | None = None) -> Page[File]:
        """One page of files, newest first."""
        request = call("GET", "files", query={"after": after, "limit": limit})
        return await self._transport.ask(ask(request, lambda raw: to_page(raw, to_file)))

    def list(self) -> AsyncIterator[File]:
        """All files, newest first."""
        return every(lambda after: self.page(after=after, limit=MAX_PAGE))

    async def get(self, file_id: str) -> File:
        """One file's record."""
        return await self._transport.ask(ask(call("GET", "files", file_id), to_file))

    async def find(self, *, sha256: str, filename: str) -> File | None:
        """One of the newest files, if it has this content and this name."""
        looked_at = 0
        async for file in self.list():
            if file.sha256 == sha256 and file.filename == filename:
                return file
            looked_at += 1
            if looked_at >= SEARCHED:
                break
        return None

    def content(self, file_id: str) -> AsyncIterator[bytes]:
        """A file's content, piece by piece; a broken download goes on where it was."""
        return stream_bytes(self._transport, call("GET", "files", file_id, "content"))

    async def download(
        self,
        file_id: str,
        path: str | Path,
        *,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> Path:
        """Save a file's content. The file appears whole or not at all, and its checksum is checked.

        Args:
            progress: called with the bytes received so far and the bytes in all.

        Raises:
            TransferFailed: what arrived is not what the server has.
        """
        file = await self.get(file_id)
        await save(
            self.content(file_id),
            Path(path),
            size=file.bytes,
            sha256=file.sha256,
            progress=progress,
        )
        return Path(path)

    async def delete(self, file_id: str) -> Mapping[str, Any] | None:
        """Delete a file. Returns what the server says about it, if anything."""
        deletion: Ask[Mapping[str, Any] | None] = ask(
            call("DELETE", "files", file_id), lambda raw: raw
        )
        return await self._transport.ask(deletion)
