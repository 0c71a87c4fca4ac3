"""The shape of a submission, one for each kind of task: for the document, and for clients made of it."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel, Field, create_model

from jobs.kinds import KindRegistry
from jobs.spec import JobSpec


def submission_models(kinds: KindRegistry) -> dict[str, type[BaseModel]]:
    """By name of the kind. Requests are validated in two steps that come to the same: the job, then its parameters."""
    return {name: _model(name, kinds) for name in sorted(kinds)}


def _model(name: str, kinds: KindRegistry) -> type[BaseModel]:
    kind = kinds[name]
    words = "".join(part.capitalize() for part in name.split("_"))
    # The parameters get a name of their own: all kinds call theirs Params.
    params = cast(
        "type[BaseModel]", type(f"{words}Params", (kind.Params,), {"__doc__": kind.Params.__doc__})
    )
    fields: dict[str, Any] = {
        "kind": (Literal[name], Field(description=kind.summary)),
        "params": (params, _params_field(name, params)),
    }
    if kind.needs_model:
        known = JobSpec.model_fields["model"]
        fields["model"] = (str, Field(description=known.description, examples=known.examples))
    return create_model(f"{words}Job", __base__=JobSpec, __doc__=kind.summary, **fields)


def _params_field(name: str, params: type[BaseModel]) -> Any:
    description = f"Parameters of {name}."
    if any(one.is_required() for one in params.model_fields.values()):
        return Field(description=description)
    return Field(default_factory=params, description=description)
