"""Health, kinds and workers, as the API shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from api.schemas.base import Time, View, page_of


class Alive(View):
    """The process is alive."""

    status: Literal["ok"] = Field(description="Always `ok`.")


class Ready(View):
    """Whether everything that the API needs can be used."""

    status: Literal["ok", "unavailable"] = Field(description="`ok` when all checks are.")
    checks: dict[str, str] = Field(
        description="What was checked, and `ok` or what is wrong.",
        examples=[{"redis": "ok", "ledger": "ok", "object_store": "ok"}],
    )


class KindView(View):
    """A kind of task."""

    object: Literal["kind"] = Field(description="Always `kind`.")
    name: str = Field(description="Its name.", examples=["classify"])
    summary: str = Field(description="What it does.")
    needs_model: bool = Field(description="Whether a submission names a model.")
    params: dict[str, Any] = Field(description="JSON schema of its parameters.")
    output_columns: dict[str, str] = Field(description="Columns of its results, with their types.")


class WorkerView(View):
    """A live process that works. Further facts depend on its role and device."""

    model_config = ConfigDict(frozen=True, extra="allow")

    object: Literal["worker"] = Field(description="Always `worker`.")
    id: str = Field(description="Names the process.", examples=["model-3f2a"])
    host: str = Field(description="Where it runs.")
    role: str = Field(description="`model`, `control` or `scheduler`.", examples=["model"])
    device: Any = Field(description="The device it owns, if any.")
    models: list[Any] = Field(description="The models that it holds.")
    job: str | None = Field(description="The job that it works at.")
    seen_at: Time | None = Field(description="When it last told of itself.")


KindPage = page_of(KindView)
WorkerPage = page_of(WorkerView)
