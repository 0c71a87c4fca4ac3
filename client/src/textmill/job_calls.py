"""The calls about jobs, with what their answers mean, for the sync and the async client alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from textmill.call import Ask, Call, Reply, ask, call, given
from textmill.errors import ApiError, InputError
from textmill.job import JobState
from textmill.paging import Page, to_page

Output = Literal["results", "errors"]
OutputFormat = Literal["jsonl", "csv", "parquet"]

OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)

J = TypeVar("J", bound=JobState)
#: What turns the API's object into a job of the client that asked.
Adopt = Callable[[Mapping[str, Any]], J]


def create(
    adopt: Adopt[J],
    *,
    kind: str,
    entry: Mapping[str, Any],
    model: str | None = None,
    params: Mapping[str, Any] | None = None,
    name: str | None = None,
    format: str | None = None,  # noqa: A002 - the API's own name
    text_field: str | None = None,
    id_field: str | None = None,
    carry: Sequence[str] = (),
    fields: Mapping[str, str] | None = None,
    where: Sequence[Mapping[str, Any]] = (),
    priority: str | None = None,
    completion_window: str | None = None,
    max_errors: int | str | None = None,
    metadata: Mapping[str, str] | None = None,
    ways_out: Mapping[str, Any] | None = None,
    key: str | None = None,
) -> Ask[J]:
    """Submit a job.

    Args:
        entry: what it reads: one of ``items``, ``file``, ``uri`` and ``job``.
        ways_out: what :func:`ways_out` made.
        key: idempotency key; one is made up when not given.

    Raises:
        InputError: the key could not be sent.
    """
    options = {
        "format": format,
        "text_field": text_field,
        "id_field": id_field,
        "carry": list(carry) or None,
        "fields": dict(fields or {}) or None,
        "where": [dict(one) for one in where] or None,
    }
    body = {
        "kind": kind_name(kind),
        "model": model,
        "name": name,
        "input": {**entry, **given(options)},
        "params": dict(params or {}) or None,
        "priority": priority,
        "completion_window": completion_window,
        "max_errors": max_errors,
        "metadata": dict(metadata or {}) or None,
        **(ways_out or {}),
    }
    return ask(call("POST", "jobs", body=given(body)).keyed(key), adopt)


def ways_out(
    *,
    output_uri: str | None,
    output_format: str | None,
    output_layout: str | None,
    webhook_url: str | None,
    webhook_secret: str | None,
) -> dict[str, Any]:
    """A submission's ``output`` and ``webhook``, so far as they were given.

    Raises:
        InputError: one was given in part.
    """
    if output_format is not None and output_uri is None:
        raise InputError("output_format needs output_uri")
    if output_layout is not None and output_uri is None:
        raise InputError("output_layout needs output_uri")
    if (webhook_url is None) != (webhook_secret is None):
        raise InputError("webhook_url and webhook_secret go together")
    output = given({"uri": output_uri, "format": output_format, "layout": output_layout})
    webhook = given({"url": webhook_url, "secret": webhook_secret})
    return given({"output": output or None, "webhook": webhook or None})


def get(adopt: Adopt[J], job_id: str) -> Ask[J]:
    """One job as it is now."""
    return ask(call("GET", "jobs", job_id), adopt)


def poll(
    adopt: Adopt[J], job_id: str, *, seconds: int, etag: str | None, within: float | None
) -> Ask[tuple[J | None, str | None]]:
    """The job once it differs from the state that ``etag`` names, and its new ETag; None when nothing changed.

    Args:
        seconds: how long the server may hold the call until something changes, at most 30.
        within: seconds for all tries together.
    """
    request = call("GET", "jobs", job_id, query={"wait": seconds} if etag and seconds else None)
    if etag:
        request = request.with_headers(If_None_Match=etag)

    def read(reply: Reply) -> tuple[J | None, str | None]:
        if reply.status == 304:
            return None, etag
        return reply.parse(adopt), reply.headers.get("etag")

    return Ask(request.allowing(seconds, within=within), read)


def page(
    adopt: Adopt[J],
    *,
    status: str | None = None,
    kind: str | None = None,
    name: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Ask[Page[J]]:
    """One page of jobs, newest first."""
    query = {
        "status": status,
        "kind": kind_name(kind) if kind else None,
        "name": name,
        "after": after,
        "limit": limit,
    }
    return ask(call("GET", "jobs", query=query), lambda raw: to_page(raw, adopt))


def cancel(adopt: Adopt[J], job_id: str) -> Ask[J]:
    """Cancel a job. Harmless when repeated: a job that is being cancelled says so again."""
    return ask(call("POST", "jobs", job_id, "cancel", repeatable=True), adopt)


def retry(adopt: Adopt[J], job_id: str) -> Ask[J]:
    """Run again what failed. Never repeated when an answer was lost: it might run twice."""
    return ask(call("POST", "jobs", job_id, "retry"), adopt)


def delete(job_id: str) -> Call:
    """Delete an ended job."""
    return call("DELETE", "jobs", job_id)


def evaluation(job_id: str) -> Ask[dict[str, Any]]:
    """How good the results are."""
    return ask(call("GET", "jobs", job_id, "evaluation"), dict)


def content(
    job_id: str,
    output: Output,
    *,
    partial: bool,
    format: OutputFormat,  # noqa: A002 - the API's own name
) -> tuple[Call, bool]:
    """The results or errors, and whether a broken download of them can go on where it was.

    That of JSONL can, unless it is of partial results; one of another format cannot, as the server makes it anew
    each time.
    """
    as_lines = format == "jsonl"
    query = {"partial": partial or None, "format": None if as_lines else format}
    return call("GET", "jobs", job_id, output, query=query), as_lines and not partial


def explain_upload(error: ApiError, file_id: str) -> None:
    """Tell of a refused submission that its input was uploaded and need not be once more."""
    error.hint = (
        f"The input was uploaded as {file_id}; "
        "give this id as input to submit it again without uploading."
    )


def format_of(path: str | Path) -> OutputFormat:
    """The format that the ending of a file's name stands for: ``jsonl`` for all but ``.csv`` and ``.parquet``."""
    ending = Path(path).suffix.lower().removeprefix(".")
    return next((known for known in OUTPUT_FORMATS if known == ending), "jsonl")


def kind_name(text: str) -> str:
    """A kind as HTTP names it: ``fine-tune`` becomes ``fine_tune``."""
    return text.replace("-", "_")
