"""``tm.jobs`` of the asynchronous client. What each call means stands in :mod:`textmill.jobs`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textmill import job_calls
from textmill.aio.download import json_lines, save, stream_bytes
from textmill.aio.events import follow as _follow
from textmill.aio.files import AsyncFiles
from textmill.aio.job import AsyncJob, OnChange, to_async_job
from textmill.aio.paging import every
from textmill.aio.source import prepare
from textmill.aio.transport import AsyncTransport
from textmill.aio.waiting import AsyncWaiter
from textmill.call import check_key
from textmill.errors import ApiError
from textmill.events import Event
from textmill.job_calls import Output, OutputFormat, format_of
from textmill.paging import MAX_PAGE, Page
from textmill.source import Source
from textmill.upload import UploadProgress


class AsyncJobs:
    """Everything about jobs. Made by :class:`textmill.AsyncTextmill`."""

    def __init__(self, transport: AsyncTransport, files: AsyncFiles) -> None:
        self._transport = transport
        self._files = files
        self._waiter = AsyncWaiter(transport.policy)

    async def create(
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
    ) -> AsyncJob:
        """Submit a job; see :meth:`textmill.jobs.Jobs.create` for what each argument means."""
        if idempotency_key is not None:
            check_key(idempotency_key)  # before anything is uploaded
        ways_out = job_calls.ways_out(
            output_uri=output_uri,
            output_format=output_format,
            output_layout=output_layout,
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
        )
        prepared = await prepare(
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
            return await self._transport.ask(submission)
        except ApiError as error:
            if prepared.uploaded is not None:
                job_calls.explain_upload(error, prepared.uploaded.id)
            raise

    async def get(self, job_id: str) -> AsyncJob:
        """One job as it is now."""
        return await self._transport.ask(job_calls.get(self.adopt, job_id))

    async def poll(
        self, job_id: str, *, seconds: int, etag: str | None, within: float | None = None
    ) -> tuple[AsyncJob | None, str | None]:
        """The job once it differs from the state that ``etag`` names, and its new ETag; see the sync one."""
        return await self._transport.ask(
            job_calls.poll(self.adopt, job_id, seconds=seconds, etag=etag, within=within)
        )

    def events(
        self, job_id: str, *, follow: bool = True, after: str | None = None
    ) -> AsyncIterator[Event]:
        """See :meth:`textmill.AsyncJob.events`."""
        return _follow(self._transport, job_id, wait=follow, after=after)

    async def page(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        name: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[AsyncJob]:
        """One page of jobs, newest first."""
        return await self._transport.ask(
            job_calls.page(
                self.adopt, status=status, kind=kind, name=name, after=after, limit=limit
            )
        )

    def list(
        self, *, status: str | None = None, kind: str | None = None, name: str | None = None
    ) -> AsyncIterator[AsyncJob]:
        """All jobs that fit, newest first."""
        return every(
            lambda after: self.page(
                status=status, kind=kind, name=name, after=after, limit=MAX_PAGE
            )
        )

    async def cancel(self, job_id: str) -> AsyncJob:
        """Cancel a job; rows done so far are kept."""
        return await self._transport.ask(job_calls.cancel(self.adopt, job_id))

    async def retry(self, job_id: str) -> AsyncJob:
        """Run again what failed in an ended job, only that; see :meth:`textmill.jobs.Jobs.retry`."""
        return await self._transport.ask(job_calls.retry(self.adopt, job_id))

    async def delete(self, job_id: str) -> None:
        """Delete an ended job with its results and all else that was kept of it."""
        await self._transport.send(job_calls.delete(job_id))

    async def wait(
        self, job: AsyncJob, *, progress: bool | OnChange = False, timeout: float | None = None
    ) -> AsyncJob:
        """See :meth:`textmill.AsyncJob.wait`."""
        if progress is True:
            from textmill.progress import JobProgress  # noqa: PLC0415 - loads rich, which few need

            with JobProgress() as shown:
                return await self.wait(job, progress=shown.update, timeout=timeout)
        return await self._waiter.wait(
            job, poll=self.poll, notify=progress or None, timeout=timeout
        )

    def content(
        self,
        job_id: str,
        output: Output,
        *,
        partial: bool = False,
        format: OutputFormat = "jsonl",  # noqa: A002 - the API's own name
    ) -> AsyncIterator[bytes]:
        """The results or errors, piece by piece; see :meth:`textmill.jobs.Jobs.content`."""
        request, resumable = job_calls.content(job_id, output, partial=partial, format=format)
        return stream_bytes(self._transport, request, resumable=resumable)

    def rows(
        self, job_id: str, output: Output, *, partial: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """The results or errors, row by row."""
        return json_lines(self.content(job_id, output, partial=partial))

    async def evaluation(self, job_id: str) -> dict[str, Any]:
        """How good the results are; see :meth:`textmill.jobs.Jobs.evaluation`."""
        return await self._transport.ask(job_calls.evaluation(job_id))

    async def download(
        self,
        job_id: str,
        path: str | Path,
        *,
        output: Output = "results",
        partial: bool = False,
        format: OutputFormat | None = None,  # noqa: A002 - the API's own name
    ) -> Path:
        """Save the results or errors. The file appears whole or not at all."""
        wanted = format or format_of(path)
        await save(self.content(job_id, output, partial=partial, format=wanted), Path(path))
        return Path(path)

    def adopt(self, raw: Mapping[str, Any]) -> AsyncJob:
        """A job from the API's object, bound to this server."""
        return to_async_job(raw, self)
