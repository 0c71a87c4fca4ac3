"""Uploaded files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from textmill.call import Call, call
from textmill.download import DownloadProgress, fetch, stream_bytes
from textmill.errors import InputError, TransferFailed
from textmill.paging import MAX_PAGE, Page, every, parse_time, to_page
from textmill.parcel import goes_by_parts
from textmill.parts import PartsUpload
from textmill.transport import Transport
from textmill.upload import FileBody, RowsBody, UploadProgress

#: How many of the newest files are looked through for one with the same content.
SEARCHED = 500
#: What the server may need beyond the usual timeout to store a large file once it has all of it.
_STORING_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class File:
    """One uploaded file."""

    id: str
    filename: str
    bytes: int
    sha256: str | None = None
    created_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def to_file(raw: Mapping[str, Any]) -> File:
    """A file from the API's object."""
    return File(
        id=raw["id"],
        filename=raw.get("filename") or "",
        bytes=raw.get("bytes") or 0,
        sha256=raw.get("sha256"),
        created_at=parse_time(raw.get("created_at")),
        raw=raw,
    )


def whole(filename: str) -> Call:
    """Upload a file in one request."""
    request = call("POST", "files", query={"filename": filename}, repeatable=True)
    request = request.with_headers(Content_Type="application/octet-stream")
    return request.allowing(_STORING_SECONDS)


def arrived(file: File, body: FileBody | RowsBody) -> File:
    """The file, if it is what was sent.

    Raises:
        TransferFailed: it is something else.
    """
    if file.sha256 is not None and file.sha256 != body.sha256:
        raise TransferFailed(f"{file.filename} was damaged on its way: the checksums differ")
    return file


class Files:
    """``tm.files``: upload, list, download and delete files."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(
        self,
        source: str | Path | BinaryIO,
        *,
        filename: str | None = None,
        progress: UploadProgress | None = None,
    ) -> File:
        """Upload a file of any size in bounded memory.

        A large file goes by parts, several at once, if the source is seekable: what breaks off is sent again by itself,
        and an upload of the same file that another process left unfinished is gone on with. Any other is tried again
        when the source can be read from its beginning again.

        Args:
            source: a path, or a file open in binary mode, which is read from where it stands.
            filename: what the server calls it; its ending names the format. By default the path's own name.
            progress: called with the bytes sent so far and the bytes in all (None where not known).

        Raises:
            InputError: the file cannot be read.
            TransferFailed: what arrived is not what was sent.
        """
        if isinstance(source, (str, Path)):
            path = Path(source)
            with open_input(path) as opened:
                return self.upload(opened, filename=filename or path.name, progress=progress)
        own = getattr(source, "name", None)
        filename = filename or (Path(own).name if isinstance(own, str) else "upload.jsonl")
        return self.send(FileBody(source, progress=progress), filename)

    def send(self, body: FileBody | RowsBody, filename: str) -> File:
        """Upload a body and check that it arrived whole."""
        if goes_by_parts(body):
            file = to_file(PartsUpload(self._transport, body, filename).run())
        else:
            file = self._transport.send(whole(filename), body).parse(to_file)
        return arrived(file, body)

    def page(self, *, after: str | None = None, limit: int | None = None) -> Page[File]:
        """One page of files, newest first."""
        request = call("GET", "files", query={"after": after, "limit": limit})
        return self._transport.send(request).parse(lambda raw: to_page(raw, to_file))

    def list(self) -> Iterator[File]:
        """All files, newest first."""
        return every(lambda after: self.page(after=after, limit=MAX_PAGE))

    def get(self, file_id: str) -> File:
        """One file's record."""
        return self._transport.send(call("GET", "files", file_id)).parse(to_file)

    def find(self, *, sha256: str, filename: str) -> File | None:
        """One of the newest files, if it has this content and this name."""
        for file in islice(self.list(), SEARCHED):
            if file.sha256 == sha256 and file.filename == filename:
                return file
        return None

    def content(self, file_id: str) -> Iterator[bytes]:
        """A file's content, piece by piece; a broken download goes on where it was."""
        return stream_bytes(self._transport, call("GET", "files", file_id, "content"))

    def download(
        self, file_id: str, path: str | Path, *, progress: DownloadProgress | None = None
    ) -> Path:
        """Save a file's content. The file appears whole or not at all, and its checksum is checked.

        What an earlier try left in ``<path>.part`` is not fetched again.

        Args:
            progress: called with the bytes that are there and the bytes in all (None where not known).

        Raises:
            TransferFailed: what arrived is not what the server has.
        """
        file = self.get(file_id)
        request = call("GET", "files", file_id, "content")
        fetch(self._transport, request, Path(path), sha256=file.sha256, progress=progress)
        return Path(path)

    def delete(self, file_id: str) -> Mapping[str, Any] | None:
        """Delete a file. Returns what the server says about it, if anything."""
        answer: Mapping[str, Any] | None = self._transport.send(
            call("DELETE", "files", file_id)
        ).body
        return answer


def open_input(path: Path) -> BinaryIO:
    """A local file, opened for reading.

    Raises:
        InputError: it is not there, is a folder or may not be read.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give a file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}") from error
