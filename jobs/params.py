"""Parameters of a kind, from the JSON of a submission."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from jobs.errors import FieldError, InvalidRequest, MalformedBody, shorten
from jobs.kinds import Kind, KindParams

Model = TypeVar("Model", bound=BaseModel)


def parse_params(kind: Kind, given: dict[str, Any]) -> KindParams:
    """Validate the parameters for a kind.

    Raises:
        InvalidRequest: naming each wrong parameter as ``params.<name>``.
    """
    params = validate(kind.Params, orjson.dumps(given), ("params",))
    if params.engine != "auto" and params.engine not in kind.engines:
        known = ", ".join(["auto", *kind.engines])
        raise InvalidRequest.of(
            "params.engine", f"expected one that {kind.name} can use: {known}", params.engine
        )
    return params


def validate(model: type[Model], data: bytes, prefix: Sequence[str] = ()) -> Model:
    """Validate JSON, with pydantic's complaints turned into the fields of one error.

    Raises:
        MalformedBody: it is not JSON, or nested too deeply.
        InvalidRequest: it does not fit the model.
    """
    try:
        # pydantic alone would let NaN pass, and whole numbers that nothing behind it can write again.
        data = orjson.dumps(orjson.loads(data))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        raise MalformedBody(f"Invalid JSON: {error}") from None
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise MalformedBody(str(error.errors()[0]["msg"])) from None
        raise invalid(error, prefix) from None


def invalid(error: ValidationError, prefix: Sequence[str] = ()) -> InvalidRequest:
    """What pydantic found wrong, as one error that names each field."""
    fields = [_field_error(problem, prefix) for problem in error.errors(include_url=False)]
    summary = "; ".join(f"{one.field}: {one.reason}" for one in fields[:3])
    more = f" (and {len(fields) - 3} more)" if len(fields) > 3 else ""
    return InvalidRequest(summary + more, fields=fields[:50])


def _field_error(problem: Any, prefix: Sequence[str]) -> FieldError:
    path = _masked(".".join([*prefix, *(str(part) for part in problem["loc"])])) or "body"
    reason = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        reason = "unknown field"
    return FieldError(field=path, reason=reason, value=_shown(problem["loc"], problem["input"]))


def _shown(path: Sequence[str | int], value: object) -> str | None:
    """A wrong value as it may stand in an error; None where it is no simple one, or may be meant as a secret."""
    if not isinstance(value, str | int | float | bool):
        return None
    secret = any("secret" in str(part).lower() for part in path)
    if secret or ("webhook" in path and path[-1] != "url"):
        return None
    return shorten(_masked(str(value)))


def _masked(text: str) -> str:
    """A text without what has the form of a secret: webhooks' own, and what stands before the host of a URL."""
    text = re.sub(r"whsec_[^.\s]+", "whsec_***", text)
    return re.sub(r"(://)[^/?#]*@", r"\1***@", text)
