"""API keys, as the API shows them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.schemas.base import Time, View, page_of
from jobs.scopes import Scope


class KeyView(View):
    """The record of an API key. The key itself is kept nowhere."""

    object: Literal["key"] = Field(description="Always `key`.")
    id: str = Field(description="Names the key.", examples=["key_01k5b3w7m3v9q8z2c4x6t1n0ra"])
    name: str = Field(description="What it is for.")
    scopes: list[Scope] = Field(description="What it may be used for.")
    created_at: Time = Field(description="When it was made.")
    created_by: str | None = Field(description="Id of the key that made it; null: an operator did.")
    expires_at: Time | None = Field(description="From when on it is worthless; null: never.")
    revoked_at: Time | None = Field(description="When it was made worthless.")
    last_used_at: Time | None = Field(
        description="When it was last used, to the minute; null: never, or not since Redis was lost."
    )


class NewKeyView(KeyView):
    """A key that was just made."""

    key: str = Field(
        description="The key itself, shown only now.",
        examples=["tm_01k5b3w7m3v9q8z2c4x6t1n0ra_bm90LWEta2V5LW5vdC1hLWtleS1u"],
    )


KeyPage = page_of(KeyView)
