"""A job's output as it is written: sections that grow part by part, and can be gone on with after a death."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from jobs.names import JobNames
from storage.objects import ObjectMissing, ObjectStore

CONTENT_TYPE = "application/x-ndjson"

#: Size of the parts of an upload; S3 wants at least 5 MiB of all but the last. All have this very size, so that two
#: who write the same output write the same parts.
PART_BYTES = 6 << 20

#: Parts of a section that are on their way at once.
_IN_FLIGHT = 2


class UploadLost(Exception):
    """What was uploaded before is no longer there."""


@dataclass
class SectionState:
    """How far a section is, as recorded for whoever has to go on."""

    upload: str | None = None  #: id of the multipart upload; None while there is less than one part
    etags: list[str] = field(default_factory=list)  #: of the parts so far
    tail: int = (
        0  #: number of the object that holds what is not in a part yet; 0 when there is none
    )
    size: int = 0  #: bytes, tail included

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**data)


class Section:
    """``results`` or ``errors`` of a job, on the way into one object.

    Args:
        store: where it goes.
        names: of the job.
        folder: token that names the output's folder.
        name: of the section.
        state: how far an earlier finalizer came.
    """

    def __init__(
        self, store: ObjectStore, names: JobNames, folder: str, name: str, state: SectionState
    ) -> None:
        self._store = store
        self._tail_name: Callable[[int], str] = lambda number: names.output(
            folder, f"tails/{name}-{number:06d}"
        )
        self.target = names.output(folder, f"{name}.jsonl")
        self.state = state
        self._buffer = bytearray()
        self._uploading: deque[Future[str]] = deque()
        self._uploader = ThreadPoolExecutor(_IN_FLIGHT, f"upload {name}")
        self._old_tails: list[int] = []
        if state.tail:
            try:
                self._buffer += store.get(self._tail_name(state.tail))
            except ObjectMissing as error:
                raise UploadLost(f"the tail of {name} is not there") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._uploader.shutdown()

    def add(self, data: bytes | bytearray) -> int:
        """Append lines; how many bytes of parts were uploaded for it.

        Raises:
            UploadLost: the upload is no longer there.
        """
        self._buffer += data
        self.state.size += len(data)
        uploaded = 0
        while len(self._buffer) >= PART_BYTES:
            self._upload(bytes(memoryview(self._buffer)[:PART_BYTES]))
            del self._buffer[:PART_BYTES]
            uploaded += PART_BYTES
        return uploaded

    def save(self) -> None:
        """Put away what is in no part yet, so that the state tells of all rows so far.

        Raises:
            UploadLost: the upload is no longer there.
        """
        self._settle()
        if self.state.tail:
            self._old_tails.append(self.state.tail)
        number = max([0, *self._old_tails]) + 1
        self.state.tail = number if self._buffer else 0
        if self._buffer:
            self._store.put(self._tail_name(number), bytes(self._buffer))

    def finish(self) -> None:
        """Make the object whole. Harmless when it is so already.

        Raises:
            UploadLost: the upload is no longer there, and the object is not either.
        """
        self._settle()
        if self.state.upload is None:
            self._store.put(self.target, bytes(self._buffer), CONTENT_TYPE)
            return
        try:
            etags = list(self.state.etags)
            if self._buffer:
                number = len(etags) + 1
                etags.append(
                    self._store.upload_part(
                        self.target, self.state.upload, number, bytes(self._buffer)
                    )
                )
            self._store.complete_upload(self.target, self.state.upload, etags)
        except ObjectMissing as error:
            if not self._complete():
                raise UploadLost(f"the upload of {self.target} is not there") from error

    def sweep(self) -> None:
        """Remove what only served to go on."""
        for number in [*self._old_tails, self.state.tail]:
            if number:
                self._store.delete(self._tail_name(number))

    def _upload(self, data: bytes) -> None:
        """Send a part off, while the next one is being filled."""
        self._settle(_IN_FLIGHT - 1)
        state = self.state
        if state.upload is None:
            state.upload = self._store.begin_upload(self.target, CONTENT_TYPE)
        number = len(state.etags) + len(self._uploading) + 1
        self._uploading.append(
            self._uploader.submit(self._store.upload_part, self.target, state.upload, number, data)
        )

    def _settle(self, left: int = 0) -> None:
        """Wait until no more than so many parts are on their way."""
        while len(self._uploading) > left:
            try:
                self.state.etags.append(self._uploading.popleft().result())
            except ObjectMissing as error:
                raise UploadLost(f"the upload of {self.target} is not there") from error

    def _complete(self) -> bool:
        """Whether somebody, perhaps this one before it died, made the object whole."""
        try:
            return self._store.stat(self.target).size == self.state.size
        except ObjectMissing:
            return False
