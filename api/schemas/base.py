"""What all answers have in common."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

#: A moment, RFC 3339 in UTC with milliseconds.
Time = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "format": "date-time", "examples": ["2026-11-02T22:00:00.000Z"]}
    ),
]

Item = TypeVar("Item", bound="View")


class View(BaseModel):
    """An object as the API shows it."""

    model_config = ConfigDict(frozen=True)


def page_of(item: type[Item]) -> type[BaseModel]:
    """The shape of a page of such objects."""
    fields: dict[str, Any] = {
        "data": (list[item], Field(description="In the order of the listing.")),  # type: ignore[valid-type]
        "has_more": (bool, Field(description="Whether another page follows.")),
        "next_after": (
            str | None,
            Field(
                description="What to give as `after` for the next page; null on the last one.",
                examples=[None],
            ),
        ),
    }
    name = item.__name__.removesuffix("View") + "Page"
    return create_model(name, __base__=View, __doc__="A page of a listing.", **fields)
