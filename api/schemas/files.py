"""Uploaded files, as the API shows them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.schemas.base import Time, View, page_of


class FileView(View):
    """An uploaded file."""

    object: Literal["file"] = Field(description="Always `file`.")
    id: str = Field(description="Names the file.", examples=["file_01k5b3w7m3v9q8z2c4x6t1n0ra"])
    filename: str = Field(
        description="Its name, whose ending tells the format.", examples=["reviews.jsonl.gz"]
    )
    bytes: int = Field(ge=1, description="Its size.", examples=[1048576])
    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="SHA-256 of its bytes, in hex.", examples=["0" * 64]
    )
    created_at: Time = Field(description="When it was uploaded.")


FilePage = page_of(FileView)
