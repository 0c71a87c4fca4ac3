"""Links of the OpenAPI document: what a new thing, or one of a listing, can be asked for next (OpenAPI 3.1, 4.8.20)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel

#: Path parts that are called as the field that holds them is; those of other things are ``<object>_id``.
_NAMED = ("name", "alias", "version")


def links(
    status: int,
    model: type[BaseModel],
    routes: Iterable[tuple[str, set[str]]],
    named: Collection[str] = (),
) -> Any:
    """The links of an answer, by name.

    Args:
        status: of the answer; of things that were there before only listings have links.
        model: what it holds.
        routes: each operation's id with the names of the parts of its path.
        named: parts of the path by which the request itself named what it made.
    """
    item, base = _item(model), "$response.body#/data/0"
    if item is None:
        item, base = model, "$response.body#"
        if status != 201 and not named:
            return {}
    values = {part: f"{base}/{field}" for part, field in _parts(item).items()}
    values |= {part: f"$request.path.{part}" for part in named}
    return {
        name: {
            "operationId": name,
            "parameters": {part: values[part] for part in sorted(parts)},
            "description": "With what this answer holds.",
        }
        for name, parts in routes
        if parts and parts <= values.keys()
    }


def _item(model: type[BaseModel]) -> type[BaseModel] | None:
    """What a page is a page of."""
    if {"data", "has_more"} - model.model_fields.keys():
        return None
    found = get_args(model.model_fields["data"].annotation)
    return found[0] if found and isinstance(found[0], type) else None


def _parts(model: type[BaseModel]) -> Mapping[str, str]:
    """Parts of paths that fields of this model stand for, with those fields."""
    fields = model.model_fields
    parts = {name: name for name in _NAMED if name in fields}
    if "id" in fields and "object" in fields:
        parts = {f"{name}_id": "id" for name in get_args(fields["object"].annotation)}
    return parts
