"""Uploads by parts and to presigned URLs, as the API takes and shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.base import Time, View, page_of

Sha256 = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{64}$",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NewUpload(_Body):
    """A file that is to be uploaded by parts."""

    filename: str = Field(
        min_length=1,
        max_length=255,
        description="Its name, whose ending tells the format.",
        examples=["reviews.jsonl.gz"],
    )
    bytes: int | None = Field(
        default=None,
        ge=1,
        le=1 << 50,
        description="Its size, where known; then each part must have the size that follows from it.",
    )
    sha256: Sha256 | None = Field(
        default=None, description="SHA-256 of all of it in hex, where known; checked at the end."
    )


class DirectUpload(NewUpload):
    """A file that is to be put to the object store itself, with `presign=true`."""


class CompleteUpload(_Body):
    """The end of an upload."""

    sha256: Sha256 | None = Field(
        default=None, description="SHA-256 of all of it in hex: what arrived is checked against it."
    )


class PartView(View):
    """A part that has arrived."""

    number: int = Field(description="Its place, from 1.")
    bytes: int = Field(description="Its size.")
    sha256: str = Field(description="SHA-256 of its bytes, in hex.")


class UploadView(View):
    """An upload by parts."""

    object: Literal["upload"] = Field(description="Always `upload`.")
    id: str = Field(description="Names the upload.", examples=["upload_01k5b3w7m3v9q8z2c4x6t1n0ra"])
    status: Literal["open", "completed"] = Field(
        description="`open` while parts are taken; `completed` once there is a file."
    )
    filename: str = Field(description="Name of the file.")
    bytes: int | None = Field(description="Size of the whole, where it was said.")
    sha256: str | None = Field(description="SHA-256 of the whole, where it was said.")
    part_bytes: int | None = Field(
        description="Size of all parts but the last; null once it is completed."
    )
    file_id: str = Field(description="Id that the file has, or will have.")
    created_at: Time = Field(
        description="When it was begun; of a completed one, when it became a file."
    )
    expires_at: Time | None = Field(
        description="When it is dropped, unless further parts arrive; null once it is completed."
    )


class UploadDetailView(UploadView):
    """An upload by parts, and which have arrived."""

    parts: list[PartView] = Field(description="By number; none once it is completed.")


class PutView(View):
    """One request to the object store."""

    method: Literal["PUT"] = Field(description="Its method.")
    url: str = Field(description="Where to send it. A secret: it needs no key.")
    headers: dict[str, str] = Field(description="Headers that it must have.")
    expires_at: Time = Field(description="When the URL is worth nothing any more.")


class PresignedLinks(View):
    """What follows."""

    complete: str = Field(description="POST here once the file was put.")


class PresignedView(View):
    """Where to put a file."""

    object: Literal["presigned_upload"] = Field(description="Always `presigned_upload`.")
    id: str = Field(description="Id that the file will have.")
    filename: str = Field(description="Name of the file.")
    upload: PutView = Field(description="The request that puts it.")
    links: PresignedLinks = Field(description="Where to go on from here.")


UploadPage = page_of(UploadView)
