"""Problem documents (RFC 9457)."""

from __future__ import annotations

from pydantic import Field

from api.schemas.base import View


class FieldProblem(View):
    """One wrong field of a request."""

    field: str = Field(
        description="Dotted path of the field; a header is `header:Name`.",
        examples=["params.top_k"],
    )
    reason: str = Field(
        description="What is wrong and what was expected.",
        examples=["Input should be greater than or equal to 1"],
    )
    value: str | None = Field(description="The value as received, shortened.", examples=["0"])


class Problem(View):
    """Why a call was not done. Nothing was changed unless `detail` says so."""

    type: str = Field(
        description="`urn:textmill:error:` and the code; never changes for one kind of error.",
        examples=["urn:textmill:error:invalid_request"],
    )
    title: str = Field(description="The kind of error, for people.", examples=["Invalid request"])
    status: int = Field(description="The HTTP status.", examples=[422])
    code: str = Field(
        description="Stable code of the kind of error; docs/errors.md lists them.",
        examples=["invalid_request"],
    )
    detail: str = Field(
        description="What happened here, for people.",
        examples=["params.top_k: Input should be greater than or equal to 1"],
    )
    errors: list[FieldProblem] = Field(description="Which fields are wrong, if any.")
    request_id: str | None = Field(
        description="Names the request in the server's log.", examples=["0f8c2b1e7d3a4956"]
    )
