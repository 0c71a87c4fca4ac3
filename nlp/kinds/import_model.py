"""``import_model``: bring a model into the registry, so that jobs can name a version that never changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from jobs.kinds import Kind, KindParams, LoadedModel, LoadOptions, RunContext
from jobs.outtake.columns import ColumnType
from jobs.rows import ModelProduct, Outcome, Row, Success
from nlp.adapter_files import AdapterConfig
from nlp.files import is_adapter, read_json


class ImportParams(KindParams):
    """Parameters of ``import_model``."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$",
        description="Name in the registry.",
        examples=["minilm"],
    )


class _Folder(LoadedModel):
    """A model's files, checked but not loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: Mapping[str, Any] = read_json(folder / "config.json") or {}
        self.base = AdapterConfig.read(folder).base if is_adapter(folder) else None

    @property
    def memory_bytes(self) -> int:
        return 0

    def describe(self) -> Mapping[str, Any]:
        architecture = next(iter(self.config.get("architectures") or []), None)
        if self.base is not None:
            return {"engine": "none", "architecture": "LoRA adapter", "base": self.base}
        return {"engine": "none", "architecture": architecture}


class ImportModel(Kind):
    """Publishes the files of the job's model; its one row carries no information."""

    name: ClassVar[str] = "import_model"
    summary: ClassVar[str] = "Import a model into the registry; GGUF becomes safetensors once"
    Params: ClassVar[type[KindParams]] = ImportParams
    output_columns: ClassVar[Mapping[str, ColumnType]] = {"model": "string", "version": "string"}
    loads_weights: ClassVar[bool] = False
    carries: ClassVar[bool] = False  # its output names a version that was published for it

    def load(self, files: Path, how: LoadOptions) -> LoadedModel:
        return _Folder(files)

    def run(
        self,
        model: _Folder,
        state: Any,
        rows: Sequence[Row],
        params: ImportParams,
        context: RunContext,
    ) -> list[Outcome]:
        product = ModelProduct(params.name, model.folder, rows[0].text, model.describe())
        return [Success({}, product=product) for _ in rows]
