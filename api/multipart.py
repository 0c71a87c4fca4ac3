"""Multipart uploads, taken from the connection as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, BinaryIO

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from jobs.errors import InvalidRequest, MalformedBody, TextmillError, TooLarge
from storage.streams import readable

_READ_BYTES = 1 << 18

#: The headers of a multipart part may not be larger than this.
_HEADER_BYTES = 1 << 16


def multipart_file() -> tuple[str, BinaryIO]:
    """Name and bytes of the one file in the request's form, the field ``file``.

    Raises:
        MalformedBody: the body is not such a form; also while reading, when it ends too early.
        InvalidRequest: the form holds something else; also while reading, when that follows the file.
    """
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary:
        raise MalformedBody("the multipart body has no boundary")
    # The decoder's limit is for what it holds: at most one piece as read beside unfinished headers.
    limit = _READ_BYTES + _HEADER_BYTES
    events = _events(MultipartDecoder(boundary.encode("latin-1"), limit))
    for event in events:
        if isinstance(event, File):
            if event.name != "file":
                raise InvalidRequest.of(event.name, "unknown file field; expected one named 'file'")
            return event.filename or "", readable(_data(events))
        if isinstance(event, Field):
            raise InvalidRequest.of(
                event.name, "unknown form field; expected only a file named 'file'"
            )
    raise InvalidRequest.of("file", "the form holds no file; expected a field named 'file'")


def _events(decoder: MultipartDecoder) -> Iterator[Any]:
    source: IO[bytes] = request.stream
    try:
        while True:
            event = decoder.next_event()
            if isinstance(event, Epilogue):
                return
            if isinstance(event, NeedData):
                data = source.read(_READ_BYTES)
                decoder.receive_data(data or None)
            else:
                yield event
    except TextmillError:
        raise
    except RequestEntityTooLarge:
        raise TooLarge(f"a part's headers are larger than {_HEADER_BYTES} bytes") from None
    except ValueError as error:
        raise MalformedBody(f"the multipart body is broken: {error}") from None


def _data(events: Iterator[Any]) -> Iterator[bytes]:
    """The bytes of the part whose beginning was the last event."""
    for event in events:
        if not isinstance(event, Data):
            break
        yield event.data
        if not event.more_data:
            _check_no_more(events)
            return
    raise MalformedBody("the multipart body ends in the middle of the file")


def _check_no_more(events: Iterator[Any]) -> None:
    """Read the form to its end, so that nothing in it is ignored.

    Raises:
        MalformedBody: it has no end.
        InvalidRequest: it holds something beside the file.
    """
    for event in events:
        if isinstance(event, File | Field):
            raise InvalidRequest.of(event.name, "expected nothing beside the file in the form")
