"""Which results of a job another one reads, and where in a result a value lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

#: Stands for a value that is not there.
MISSING = object()


class Condition(BaseModel):
    """What must hold of one value of a result; all that is given."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    field: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        description="The value, by a dotted path in the result, or by a name from `fields`.",
        examples=["output.score"],
    )
    equals: bool | int | float | Annotated[str, StringConstraints(max_length=500)] | None = Field(
        default=None, description="It is just this string, number or boolean.", examples=[None]
    )
    at_least: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="It is a number, and this or more.",
        examples=[0.9],
    )
    at_most: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="It is a number, and this or less.",
        examples=[None],
    )

    @model_validator(mode="after")
    def _some(self) -> Condition:
        if self.equals is None and self.at_least is None and self.at_most is None:
            raise ValueError("expected at least one of equals, at_least and at_most")
        return self

    def holds(self, value: object) -> bool:
        """Whether it holds of a value, which may be :data:`MISSING`."""
        if self.equals is not None and not _same(value, self.equals):
            return False
        if self.at_least is None and self.at_most is None:
            return True
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


def _same(value: object, wanted: object) -> bool:
    # In Python True is 1.
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def value_at(value: object, path: str) -> Any:
    """The value that a dotted path leads to, or :data:`MISSING`.

    A name may hold dots itself: the longest one that is there is taken at each step. In a list, steps are places, from
    0.
    """
    if isinstance(value, Mapping):
        if path in value:
            return value[path]
        name, dot, rest = path.rpartition(".")
        while dot:
            if name in value:
                found = value_at(value[name], path[len(name) + 1 :])
                if found is not MISSING:
                    return found
            name, dot, rest = name.rpartition(".")
        return MISSING
    if isinstance(value, list):
        place, _, rest = path.partition(".")
        if not (place.isascii() and place.isdigit()) or int(place) >= len(value):
            return MISSING
        return value_at(value[int(place)], rest) if rest else value[int(place)]
    return MISSING


class Selection:
    """Makes rows of results: takes those that are wanted, and gives their values the names that the job reads.

    Args:
        names: where values lie that go by another name, as dotted paths.
        wanted: the names that are read.
        where: what must hold.
    """

    def __init__(
        self, names: Mapping[str, str], wanted: Sequence[str], where: Sequence[Condition]
    ) -> None:
        self._names = names
        self._wanted = [(name, names.get(name, name)) for name in wanted]
        self._where = [
            (condition, names.get(condition.field, condition.field)) for condition in where
        ]

    def takes(self, result: object) -> bool:
        """Whether a result is one of the rows."""
        return all(condition.holds(value_at(result, path)) for condition, path in self._where)

    def row(self, result: object) -> dict[str, Any]:
        """The values that are read of a result, by their names; what is not there is left out."""
        found = ((name, value_at(result, path)) for name, path in self._wanted)
        return {name: value for name, value in found if value is not MISSING}
