"""``tm.jobs``: submit, follow and cancel jobs, and fetch what they made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textmill import job_calls
from textmill.call import check_key
from textmill.download import fetch, json_lines, save, stream_bytes
from textmill.errors import ApiError
from textmill.events import Event
from textmill.events import follow as _follow
from textmill.files import Files
from textmill.job import Job, to_job
from textmill.job_calls import OUTPUT_FORMATS, Output, OutputFormat, format_of, kind_name
from textmill.paging import MAX_PAGE, Page, every
from textmill.source import Source, prepare
from textmill.transport import Transport
from textmill.upload import UploadProgress
from textmill.waiting import Waiter

__all__ = ["OUTPUT_FORMATS", "Jobs", "Output", "OutputFormat", "format_of", "kind_name"]


class Jobs:
    """Everything about jobs. Made by :class:`textmill.Textmill`."""

    def __init__(self, transport: Transport, files: Files) -> None:
        self._transport = transport
        self._files = files
        self._waiter = Waiter(transport.policy)

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
        fields: Mapping[str, str] | None = None,
        where: Sequence[Mapping[str, Any]] = (),
        filename: str | None = None,
        priority: str | None = None,
        completion_window: str | None = None,
        max_errors: int | str | None = None,
        metadata: Mapping[str, str] | None = None,
        output_uri: str | None = None,
        output_format: str | None = None,
        output_layout: str | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        idempotency_key: str | None = None,
        upload_progress: UploadProgress | None = None,
    ) -> Job:
        """Submit a job.

        Args:
            kind: ``classify``, ``summarize``, ``translate``, ``fine_tune``…; a hyphen stands for an underscore.
            input: a local path (uploaded first), an ``s3://`` URI, an uploaded file or its id, a file open in
                binary mode, a list of rows, each an object or a plain text, or a completed job or its id, whose results
                are the rows.
            model: reference such as ``hf:org/name`` or ``registry:name@alias``.
            format: ``jsonl``, ``csv``, ``tsv``, ``text``, ``documents``, ``html`` or ``parquet``; by default from the
                name's ending.
            text_field: field or column that holds the text.
            id_field: field or column that holds the row's own id.
            carry: further fields to carry along into the results.
            fields: of a job's results: names for values that lie elsewhere, such as ``{"label": "output.label"}``.
            where: of a job's results: what must hold of those that are read, such as
                ``[{"field": "output.score", "at_least": 0.9}]``.
            filename: what an uploaded input is called.
            completion_window: the job expires when it has not ended after this time, such as ``"90m"``, ``"24h"`` or
                ``"7d"``; rows done by then are kept.
            max_errors: the job fails past so many failed rows, or past a share such as ``"1%"``.
            output_uri: ``s3://bucket/prefix/`` where results and errors are written to as well.
            output_format: how they are written there: ``jsonl``, ``csv`` or ``parquet``.
            output_layout: ``job``, in a folder of the job's id, or ``date``, in one of the day; by default ``job``.
            webhook_url: where the server posts a signed event when the job has ended.
            webhook_secret: what it signs with: ``whsec_`` and the base64 of 24 to 64 random bytes.
            idempotency_key: the same key always gives the same job. One is made up when not given, so that a
                submission whose answer was lost is never made twice.
            upload_progress: called with the bytes sent so far and the bytes in all (None where not known).

        Raises:
            InputError: the input cannot be read, or one of two arguments that belong together is missing.
            InvalidRequest: a field is wrong; ``errors`` says which.
            Conflict: the key was used before for another submission.
        """
        if idempotency_key is not None:
            check_key(idempotency_key)  # before anything is uploaded
        ways_out = job_calls.ways_out(
            output_uri=output_uri,
            output_format=output_format,
            output_layout=output_layout,
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
        )
        prepared = prepare(
            input,
            self._files,
            text_field=text_field or "text",
            filename=filename,
            reuse=idempotency_key is not None,
            progress=upload_progress,
        )
        submission = job_calls.create(
            self.adopt,
            kind=kind,
            entry=prepared.entry,
            model=model,
            params=params,
            name=name,
            format=format,
            text_field=text_field,
            id_field=id_field,
            carry=carry,
            fields=fields,
            where=where,
            priority=priority,
            completion_window=completion_window,
            max_errors=max_errors,
            metadata=metadata,
            ways_out=ways_out,
            key=idempotency_key,
        )
        try:
            return self._transport.ask(submission)
        except ApiError as error:
            if prepared.uploaded is not None:
                job_calls.explain_upload(error, prepared.uploaded.id)
            raise

    def get(self, job_id: str) -> Job:
        """One job as it is now."""
        return self._transport.ask(job_calls.get(self.adopt, job_id))

    def poll(
        self, job_id: str, *, seconds: int, etag: str | None, within: float | None = None
    ) -> tuple[Job | None, str | None]:
        """The job once it differs from the state that ``etag`` names, and its new ETag.

        Args:
            seconds: how long the server may hold the call until something changes, at most 30.
            within: seconds for all tries together.

        Returns:
            None instead of the job when nothing changed.
        """
        return self._transport.ask(
            job_calls.poll(self.adopt, job_id, seconds=seconds, etag=etag, within=within)
        )

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
        return self._transport.ask(
            job_calls.page(
                self.adopt, status=status, kind=kind, name=name, after=after, limit=limit
            )
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
        return self._transport.ask(job_calls.cancel(self.adopt, job_id))

    def retry(self, job_id: str) -> Job:
        """Run again what failed in an ended job, only that; the same job, now with one attempt more.

        Raises:
            Conflict: it has not ended, or nothing of it can be run again.
            ConnectionFailed: the answer was lost. The job may run again: :meth:`get` tells.
        """
        return self._transport.ask(job_calls.retry(self.adopt, job_id))

    def delete(self, job_id: str) -> None:
        """Delete an ended job with its results and all else that was kept of it.

        Raises:
            Conflict: it has not ended.
        """
        self._transport.send(job_calls.delete(job_id))

    def wait(
        self,
        job: Job,
        *,
        progress: bool | Callable[[Job], object] = False,
        timeout: float | None = None,
    ) -> Job:
        """See :meth:`textmill.Job.wait`."""
        if progress is True:
            from textmill.progress import JobProgress  # noqa: PLC0415 - loads rich, which few need

            with JobProgress() as shown:
                return self.wait(job, progress=shown.update, timeout=timeout)
        return self._waiter.wait(job, poll=self.poll, notify=progress or None, timeout=timeout)

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
        request, resumable = job_calls.content(job_id, output, partial=partial, format=format)
        return stream_bytes(self._transport, request, resumable=resumable)

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
        return self._transport.ask(job_calls.evaluation(job_id))

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

        What an earlier try left in ``<path>.part`` is not fetched again, of JSONL that is not partial.

        Args:
            format: by default from the path's ending: CSV for ``.csv``, Parquet for ``.parquet``, else JSONL.
        """
        wanted = format or format_of(path)
        request, resumable = job_calls.content(job_id, output, partial=partial, format=wanted)
        if resumable:
            fetch(self._transport, request, Path(path))
        else:
            save(stream_bytes(self._transport, request, resumable=False), Path(path))
        return Path(path)

    def adopt(self, raw: Mapping[str, Any]) -> Job:
        """A job from the API's object, bound to this server."""
        return to_job(raw, self)
