"""Every error Textmill reports, as one small tree.

Each class knows its stable ``code`` (the last part of the problem document's ``type``), its HTTP status and
its title; an instance adds what happened and, for bad input, which fields are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """One wrong field of a request."""

    field: str  #: dotted path of the field, such as ``params.top_k``; a header is ``header:Name``
    reason: str  #: what is wrong and what was expected
    value: str | None = None  #: the value as received, shortened; never a secret


class TextmillError(Exception):
    """Base of every error that a user may see."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self, detail: str, *, fields: Sequence[FieldError] = (), retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = tuple(fields)
        self.retry_after = retry_after  #: seconds after which trying again makes sense
        self.headers: dict[str, str] = {}  #: further headers of the HTTP answer


class InvalidRequest(TextmillError):
    """The request is well formed but a field is wrong."""

    code, status, title = "invalid_request", 422, "Invalid request"

    @classmethod
    def of(cls, field: str, reason: str, value: object = None) -> InvalidRequest:
        """The common case of a single wrong field."""
        error = FieldError(field=field, reason=reason, value=shorten(value))
        return cls(f"{field}: {reason}", fields=[error])


class MalformedBody(TextmillError):
    """The body is not JSON, not UTF-8, or nested too deeply."""

    code, status, title = "malformed_body", 400, "Malformed request body"


class Unauthenticated(TextmillError):
    """No key, or one that is not valid."""

    code, status, title = "unauthenticated", 401, "Authentication required"


class Forbidden(TextmillError):
    """The key is valid but may not do this."""

    code, status, title = "forbidden", 403, "Forbidden"


class NotFound(TextmillError):
    """No such thing for this tenant."""

    code, status, title = "not_found", 404, "Not found"


class UnknownModel(InvalidRequest):
    """The model reference names nothing that exists."""

    code, title = "unknown_model", "Unknown model"


class BodyTooSlow(TextmillError):
    """The body paused for too long; the connection is closed."""

    code, status, title = "body_too_slow", 408, "Body too slow"


class Conflict(TextmillError):
    """The state of the thing does not allow this."""

    code, status, title = "conflict", 409, "Conflict"


class TooLarge(TextmillError):
    """The body is larger than the limit."""

    code, status, title = "too_large", 413, "Body too large"


class UnsupportedMedia(TextmillError):
    """The content type or encoding is not one that this call takes."""

    code, status, title = "unsupported_media_type", 415, "Unsupported media type"


class RateLimited(TextmillError):
    """The tenant calls more often than it may."""

    code, status, title = "rate_limited", 429, "Too many requests"


class QuotaExceeded(TextmillError):
    """The tenant has used up what it may use; nothing was changed."""

    code, status, title = "quota_exceeded", 429, "Quota used up"

    @classmethod
    def of(cls, quota: str, detail: str, *, used: int, limit: int, retry_after: int) -> Self:
        """Of one quota; ``errors`` names it."""
        error = FieldError(field=quota, reason=f"{used} of {limit} are used", value=str(limit))
        return cls(f"{quota}: {detail}", fields=[error], retry_after=retry_after)


class Unavailable(TextmillError):
    """Redis or the object store cannot be used now; nothing was changed."""

    code, status, title = "unavailable", 503, "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after: int = 2) -> None:
        super().__init__(detail, retry_after=retry_after)


class JobFailure(TextmillError):
    """A permanent fault that ends the whole job; trying again would meet it again.

    Raised by planners, kinds and model loading. ``code`` of an instance is one of the stable codes that
    ``docs/errors.md`` lists, such as ``empty_input`` or ``model_not_found``.
    """

    status, title = 422, "Job failed"

    def __init__(self, code: str, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail, fields=[FieldError(field=field, reason=detail)] if field else ())
        self.failure_code = code
        self.field = field


def shorten(value: object, limit: int = 120) -> str | None:
    """A value as it may stand in an error: printable, on one line, at most ``limit`` characters."""
    if value is None:
        return None
    text = str(value)[: limit * 4]
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
