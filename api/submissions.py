"""The shape of a submission, one for each kind of task: for the document, and for clients made of it."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel, Field, create_model

from jobs.kinds import Kind, KindRegistry
from jobs.spec import JobSpec
from jobs.training import TrainingKind

_ROWS = {"items": [{"custom_id": "a-1", "text": "Great value."}]}
_FILE = {"file": "file_01k5b3w7m3v9q8z2c4x6t1n0ra"}


def submission_models(kinds: KindRegistry) -> dict[str, type[BaseModel]]:
    """By name of the kind. Requests are validated in two steps that come to the same: the job, then its parameters."""
    return {name: _model(name, kinds) for name in sorted(kinds)}


def submission_examples(kinds: KindRegistry) -> dict[str, Any]:
    """A whole submission for each kind whose required parameters have examples, by name of the kind."""
    return {
        name: {"summary": kind.summary, "value": example}
        for name, kind in sorted(kinds.items())
        if (example := _example(kind)) is not None
    }


def _example(kind: Kind) -> dict[str, Any] | None:
    required = [(n, one) for n, one in kind.Params.model_fields.items() if one.is_required()]
    if any(not one.examples for _, one in required):
        return None
    example: dict[str, Any] = {"kind": kind.name}
    if kind.needs_model:
        example["model"] = (JobSpec.model_fields["model"].examples or [None])[0]
    example["input"] = _FILE if isinstance(kind, TrainingKind) else _ROWS
    if required:
        example["params"] = {name: (one.examples or [None])[0] for name, one in required}
    return example


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
        fields["model"] = (
            str,
            Field(max_length=1024, description=known.description, examples=known.examples),
        )
    return create_model(f"{words}Job", __base__=JobSpec, __doc__=kind.summary, **fields)


def _params_field(name: str, params: type[BaseModel]) -> Any:
    description = f"Parameters of {name}."
    if any(one.is_required() for one in params.model_fields.values()):
        return Field(description=description)
    return Field(default_factory=params, description=description)
