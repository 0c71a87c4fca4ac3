"""``tm.jobs``: submit, follow and cancel jobs, and fetch what they made."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from textmill.call import call
from textmill.download import json_lines, save, stream_bytes
from textmill.errors import ApiError, InputError
from textmill.events import Event
from textmill.events import follow as _follow
from textmill.files import Files
from textmill.job import Job, to_job
from textmill.paging import MAX_PAGE, Page, every, to_page
from textmill.progress import JobProgress
from textmill.source import Source, prepare
from textmill.transport import Transport
from textmill.upload import UploadProgress
from textmill.waiting import Waiter

Output = Literal["results", "errors"]
OutputFormat = Literal["jsonl", "csv", "parquet"]

OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)


class Jobs:
    """Everything about jobs. Made by :class:`textmill.Textmill`."""

    def __init__(self, transport: Transport, files: Files) -> None:
        self._transport = transport
        self._files = files

    def create(
        self,
        *,
        kind: str,
        input: Source,  # noqa: A002 - the API's own name
        model: str | None = None,
        params: Mapping[str, Any] | None = None,
        name: str | None = None,
        format: str | None = None,  # noqa: A002 - the API's own name
        text_field: str | None = None,
        id_field: str | None = None,
        carry: Sequence[str] = (),
        filename: str | None = None,
        priority: str | None = None,
        completion_window: str | None = None,
        max_errors: int | str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        upload_progress: UploadProgress | None = None,
    ) -> Job:
        """Submit a job.

        Args:
            kind: ``classify``, ``summarize``, ``translate``, ``fine_tune``…; a hyphen stands for an underscore.
            input: a local path (uploaded first), an ``s3://`` URI, an uploaded file or its id, a file open in
                binary mode, or a list of rows, each an object or a plain text.
            model: reference such as ``hf:org/name`` or ``registry:name@alias``.
            format: ``jsonl``, ``csv``, ``tsv``, ``text``, ``documents`` or ``parquet``; by default from the
                name's ending.
            text_field: field or column that holds the text.
            id_field: field or column that holds the row's own id.
            carry: further fields to carry along into the results.
            filename: what an uploaded input is called.
            completion_window: the job expires when it has not ended after this time, such as ``"90m"``, ``"24h"`` or
                ``"7d"``; rows done by then are kept.
            max_errors: the job fails past so many failed rows, or past a share such as ``"1%"``.
            idempotency_key: the same key always gives the same job. One is made up when not given, so that a
                submission whose answer was lost is never made twice.
            upload_progress: called with the bytes sent so far and the bytes in all (None where not known).

        Raises:
            InputError: the input cannot be read.
            InvalidRequest: a field is wrong; ``errors`` says which.
            Conflict: the key was used before for another submission.
        """
        key = _checked(idempotency_key) if idempotency_key is not None else str(uuid.uuid4())
        prepared = prepare(
            input,
            self._files,
            text_field=text_field or "text",
            filename=filename,
            reuse=idempotency_key is not None,
            progress=upload_progress,
        )
        options = {
            "format": format,
            "text_field": text_field,
            "id_field": id_field,
            "carry": list(carry) or None,
        }
        body = {
            "kind": kind_name(kind),
            "model": model,
            "name": name,
            "input": {**prepared.entry, **_given(options)},
            "params": dict(params or {}) or None,
            "priority": priority,
            "completion_window": completion_window,
            "max_errors": max_errors,
            "metadata": dict(metadata or {}) or None,
        }
        request = call("POST", "jobs", body=_given(body), repeatable=True)
        request = request.with_headers(Idempotency_Key=key)
        try:
            return self._transport.send(request).parse(self.adopt)
        except ApiError as error:
            if prepared.uploaded is not None:
                error.hint = (
                    f"The input was uploaded as {prepared.uploaded.id}; "
                    "give this id as input to submit it again without uploading."
                )
            raise

    def get(self, job_id: str) -> Job:
        """One job as it is now."""
        return self._transport.send(call("GET", "jobs", job_id)).parse(self.adopt)

    def poll(self, job_id: str, *, seconds: int, etag: str | None) -> tuple[Job | None, str | None]:
        """The job once it differs from the state that ``etag`` names, and its new ETag.

        Args:
            seconds: how long the server may hold the call until something changes, at most 30.

        Returns:
            None instead of the job when nothing changed.
        """
        request = call("GET", "jobs", job_id, query={"wait": seconds} if etag and seconds else None)
        if etag:
            request = request.with_headers(If_None_Match=etag)
        reply = self._transport.send(request.allowing(seconds))
        if reply.status == 304:
            return None, etag
        return reply.parse(self.adopt), reply.headers.get("etag")

    def events(
        self, job_id: str, *, follow: bool = True, after: str | None = None
    ) -> Iterator[Event]:
        """See :meth:`textmill.Job.events`."""
        return _follow(self._transport, job_id, wait=follow, after=after)

    def page(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        name: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[Job]:
        """One page of jobs, newest first."""
        query = {
            "status": status,
            "kind": kind_name(kind) if kind else None,
            "name": name,
            "after": after,
            "limit": limit,
        }
        return self._transport.send(call("GET", "jobs", query=query)).parse(
            lambda raw: to_page(raw, self.adopt)
        )

    def list(
        self, *, status: str | None = None, kind: str | None = None, name: str | None = None
    ) -> Iterator[Job]:
        """All jobs that fit, newest first."""
        return every(
            lambda after: self.page(
                status=status, kind=kind, name=name, after=after, limit=MAX_PAGE
            )
        )

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; rows done so far are kept.

        Raises:
            Conflict: it has ended, or is being finished.
        """
        request = call("POST", "jobs", job_id, "cancel", repeatable=True)
        return self._transport.send(request).parse(self.adopt)

    def retry(self, job_id: str) -> Job:
        """Run again what failed in an ended job, only that; the same job, now with one attempt more.

        Raises:
            Conflict: it has not ended, or nothing of it can be run again.
            ConnectionFailed: the answer was lost. The job may run again: :meth:`get` tells.
        """
        return self._transport.send(call("POST", "jobs", job_id, "retry")).parse(self.adopt)

    def delete(self, job_id: str) -> None:
        """Delete an ended job with its results and all else that was kept of it.

        Raises:
            Conflict: it has not ended.
        """
        self._transport.send(call("DELETE", "jobs", job_id))

    def wait(
        self,
        job: Job,
        *,
        progress: bool | Callable[[Job], object] = False,
        timeout: float | None = None,
    ) -> Job:
        """See :meth:`textmill.Job.wait`."""
        waiter = Waiter(self.poll, self._transport.policy)
        if progress is True:
            with JobProgress() as shown:
                return waiter.wait(job, notify=shown.update, timeout=timeout)
        return waiter.wait(job, notify=progress or None, timeout=timeout)

    def content(
        self,
        job_id: str,
        output: Output,
        *,
        partial: bool = False,
        format: OutputFormat = "jsonl",  # noqa: A002 - the API's own name
    ) -> Iterator[bytes]:
        """The results or errors, piece by piece.

        A broken download of JSONL goes on where it was, unless it is of partial results; one of another format
        cannot, as the server makes it anew each time.
        """
        as_lines = format == "jsonl"
        query = {"partial": partial or None, "format": None if as_lines else format}
        request = call("GET", "jobs", job_id, output, query=query)
        return stream_bytes(self._transport, request, resumable=as_lines and not partial)

    def rows(
        self, job_id: str, output: Output, *, partial: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The results or errors, row by row."""
        return json_lines(self.content(job_id, output, partial=partial))

    def evaluation(self, job_id: str) -> dict[str, Any]:
        """How good the results are: ``metrics``, ``baselines``, and under ``details`` the tables by label and by group,
        the confusion matrix and calibration.

        Raises:
            NotFound: the job was not asked to ``evaluate``.
            Conflict: it has not ended.
        """
        return dict(self._transport.send(call("GET", "jobs", job_id, "evaluation")).body)

    def download(
        self,
        job_id: str,
        path: str | Path,
        *,
        output: Output = "results",
        partial: bool = False,
        format: OutputFormat | None = None,  # noqa: A002 - the API's own name
    ) -> Path:
        """Save the results or errors. The file appears whole or not at all.

        Args:
            format: by default from the path's ending: CSV for ``.csv``, Parquet for ``.parquet``, else JSONL.
        """
        wanted = format or format_of(path)
        save(self.content(job_id, output, partial=partial, format=wanted), Path(path))
        return Path(path)

    def adopt(self, raw: Mapping[str, Any]) -> Job:
        """A job from the API's object, bound to this server."""
        return to_job(raw, self)


def format_of(path: str | Path) -> OutputFormat:
    """The format that the ending of a file's name stands for: ``jsonl`` for all but ``.csv`` and ``.parquet``."""
    ending = Path(path).suffix.lower().removeprefix(".")
    return next((known for known in OUTPUT_FORMATS if known == ending), "jsonl")


def kind_name(text: str) -> str:
    """A kind as HTTP names it: ``fine-tune`` becomes ``fine_tune``."""
    return text.replace("-", "_")


def _checked(key: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        raise InputError(
            f"not an idempotency key: {key!r}; "
            "expected 1 to 255 printable ASCII characters without spaces"
        )
    return key


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
