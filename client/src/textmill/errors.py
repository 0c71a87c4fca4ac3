"""Everything that this client raises, as one small tree under :class:`TextmillError`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from textmill.aio.job import AsyncJob
    from textmill.job import Job


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """One wrong field of a request, as the server names it."""

    field: str  #: dotted path such as ``params.top_k``
    reason: str  #: what is wrong and what was expected
    value: str | None = None  #: the value as the server received it, shortened


class TextmillError(Exception):
    """Base of every error of this client."""

    code: str = "client_error"  #: stable name of what happened
    title: ClassVar[str] = "Textmill error"

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint  #: what to do about it, where the client knows

    def lines(self) -> list[str]:
        """What happened and what more is known of it, a fact a line; without the hint."""
        return [self.detail]

    def __str__(self) -> str:
        return "\n".join([*self.lines(), *([self.hint] if self.hint else [])])

    def __reduce__(self) -> tuple[Any, ...]:
        # Most are made with more arguments than the text; they travel between processes all the same.
        return _unpickled, (type(self), self.args, self.__dict__)

    def problem(self) -> dict[str, Any]:
        """This error as a problem document (RFC 9457)."""
        document = {
            "type": f"urn:textmill:error:{self.code}",
            "title": self.title,
            "detail": self.detail,
            "code": self.code,
        }
        return document | ({"hint": self.hint} if self.hint else {})


def _unpickled(
    kind: type[TextmillError], args: tuple[Any, ...], state: Mapping[str, Any]
) -> TextmillError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ConfigError(TextmillError):
    """No server or no API key is configured, or what is configured cannot be used."""

    code = "config_error"
    title = "Configuration error"


class InputError(TextmillError):
    """What was given as input cannot be read; nothing was sent."""

    code = "input_error"
    title = "Unusable input"


class ConnectionFailed(TextmillError):
    """The server could not be reached, or the connection broke, and trying again did not help."""

    code = "connection_failed"
    title = "Connection failed"

    def __init__(self, detail: str, *, hint: str | None = None, lasting: bool = False) -> None:
        super().__init__(detail, hint=hint)
        self.lasting = lasting  #: whether it would fail again in the same way, such as for an untrusted certificate


class TransferFailed(TextmillError):
    """What arrived is not what was sent, or it changed on the server during a download."""

    code = "transfer_failed"
    title = "Transfer failed"


class WaitTimeout(TextmillError):
    """The job had not ended when the waiting time was over. The job goes on."""

    code = "wait_timeout"
    title = "Still running"


class JobFailed(TextmillError):
    """A job that was waited for ended as ``failed``, ``cancelled`` or ``expired``."""

    title = "Job did not complete"

    def __init__(self, job: Job) -> None:
        self.job = job  #: the job as it ended
        self.code = (job.error and job.error.code) or f"job_{job.status}"
        reason = f": {job.error.message}" if job.error and job.error.message else ""
        verb = {"cancelled": "was cancelled", "expired": "expired"}.get(job.status, job.status)
        super().__init__(f"job {job.id} {verb}{reason}")


class AsyncJobFailed(JobFailed):
    """The same of an asynchronous client, with its kind of job."""

    job: AsyncJob  # type: ignore[assignment]  # whoever catches either may use what jobs have in common

    def __init__(self, job: AsyncJob) -> None:
        super().__init__(job)  # type: ignore[arg-type]


class ApiError(TextmillError):
    """The server answered with an error."""

    title = "The server refused"

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str,
        errors: tuple[FieldError, ...] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
        raw: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(detail, hint=hint)
        self.status = status  #: HTTP status
        self.code = code  #: the server's stable code, such as ``not_found``
        self.errors = errors  #: which fields are wrong
        self.request_id = request_id  #: to find the request in the server's log
        self.retry_after = retry_after  #: seconds after which the server wants to be asked again
        self.raw = dict(raw or {})  #: the problem document; empty when the server sent none
        self.headers = dict(headers or {})  #: of the answer, names in lower case

    def lines(self) -> list[str]:
        """The detail with status and code, each wrong field, and the request's id for the server's log."""
        lines = [f"{self.detail} ({self.status} {self.code})"]
        for wrong in self.errors:
            said = f"{wrong.field}: {wrong.reason}"
            if len(self.errors) == 1 and self.detail.endswith(said) and wrong.value is None:
                continue
            found = f" (found {wrong.value})" if wrong.value is not None else ""
            lines.append(f"  {said}{found}")
        if self.request_id and self.status >= 500:
            lines.append(f"  request {self.request_id}")
        return lines

    def problem(self) -> dict[str, Any]:
        document = dict(self.raw) or super().problem() | {"status": self.status}
        return document | ({"hint": self.hint} if self.hint else {})


class InvalidRequest(ApiError):
    """A field of the request is wrong; ``errors`` says which and what was expected."""


class Unauthenticated(ApiError):
    """No API key, or one that is not valid."""


class Forbidden(ApiError):
    """The API key is valid but may not do this."""


class NotFound(ApiError):
    """There is no such thing."""


class Conflict(ApiError):
    """The state of the thing does not allow this."""


class RateLimited(ApiError):
    """Too many requests; ``retry_after`` says when to come again."""


class Unavailable(ApiError):
    """The server, or something it needs, is down for the moment."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_class(status: int) -> type[ApiError]:
    """The class of error that stands for an HTTP status."""
    return _BY_STATUS.get(status, ApiError)
