"""What a submitter asks for: the body of ``POST /v1/jobs``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

from jobs.ids import ID_PATTERN
from jobs.outtake import OutputFormat
from jobs.selecting import Condition
from jobs.states import Priority
from jobs.webhooks import WebhookSpec

#: Limits of rows given inside the submission.
MAX_INLINE_ROWS = 1_000
MAX_INLINE_BYTES = 1 << 20

#: Formats that are read from their first byte to their last.
StreamedFormat = Literal["jsonl", "csv", "tsv", "text", "documents", "html"]

InputFormat = Literal[StreamedFormat, "parquet"]

FieldName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def check_max_errors(value: object) -> object:
    """A limit of failed rows, as it was given.

    Raises:
        ValueError: it is neither a number of rows nor a percentage.
    """
    number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12
    share = isinstance(value, str) and re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%", value)
    if value is None or number or (share and float(share[1]) <= 100):
        return value
    raise ValueError("expected a number of rows, at least 0, or a percentage such as '1%'")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RowsSpec(_Strict):
    """Which values of what is read make a row."""

    text_field: FieldName = Field(
        default="text", description="Field or column that holds the text.", examples=["body"]
    )
    id_field: FieldName = Field(
        default="custom_id",
        description="Field or column that holds the row's own id.",
        examples=["ticket_id"],
    )
    carry: list[FieldName] = Field(
        default_factory=list,
        max_length=50,
        description="Further fields to carry along into each result row's `fields`.",
        examples=[["country"]],
    )
    fields: dict[FieldName, FieldName] = Field(
        default_factory=dict,
        max_length=50,
        description="Of a job's results: names for values that lie elsewhere in a result, each by a dotted path. "
        "`text_field`, `id_field`, `carry` and fields that the kind reads go by these names first; they may be paths "
        "themselves.",
        examples=[{"label": "output.label"}],
    )
    where: list[Condition] = Field(
        default_factory=list,
        max_length=10,
        description="Of a job's results: only those for which all of this holds; the others are left out.",
        examples=[[{"field": "output.score", "at_least": 0.9}]],
    )

    @model_serializer(mode="wrap")
    def _without_what_was_not_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Hashes of bodies stand in stores that were filled before these fields existed.
        entry: dict[str, Any] = handler(self)
        later = ("job", "fields", "where")
        return {name: value for name, value in entry.items() if value or name not in later}

    def _require_text(self) -> None:
        """Of a job's results, there is no text by itself."""
        if "text_field" not in self.model_fields_set and "text" not in self.fields:
            reason = "expected text_field to name the value of a result that is the text"
            raise ValueError(f"{reason}, such as output.translation or fields.text")


class InputSpec(RowsSpec):
    """Where the rows come from: exactly one of ``items``, ``file``, ``uri`` and ``job``."""

    items: list[Any] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_INLINE_ROWS,
        description=f"Inline rows, at most {MAX_INLINE_ROWS} and 1 MiB. A bad one becomes an error row.",
        examples=[[{"custom_id": "a-1", "text": "Great value."}]],
    )
    file: str | None = Field(
        default=None,
        max_length=100,
        description="Id of an uploaded file.",
        examples=["file_01k5b3w7m3v9q8z2c4x6t1n0ra"],
    )
    uri: str | None = Field(
        default=None,
        max_length=1024,
        description="`s3://bucket/key`, or a prefix that ends in `/`, or a glob with `*`.",
        examples=["s3://corpora/reviews/2026-11-*.jsonl.gz"],
    )
    format: InputFormat | None = Field(
        default=None,
        description="Format of the file or objects; by default from the name's ending. `text` is a row a "
        "line, `documents` a row a file, `html` the text of a web page. A name's ending `.gz` or `.zst` says how it is "
        "compressed.",
        examples=["jsonl"],
    )
    job: str | None = Field(
        default=None,
        pattern=f"^job_{ID_PATTERN}$",
        description="Id of a completed job, whose results are the rows.",
        examples=["job_01k5b3w7m3v9q8z2c4x6t1n0ra"],
    )

    @field_validator("uri")
    @classmethod
    def _s3_uri(cls, value: str | None) -> str | None:
        if value is None:
            return None
        match = re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(.+)", value)
        if match is None or not value.isprintable():
            raise ValueError("expected s3://bucket/key, s3://bucket/prefix/ or a glob")
        if ".." in match[1].split("/"):
            raise ValueError("'..' is not allowed in an object's name")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> InputSpec:
        sources = ("items", "file", "uri", "job")
        given = [name for name in sources if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"expected exactly one of items, file, uri and job, found {found}")
        if self.job is not None:
            self._require_text()
            if self.format is not None:
                raise ValueError("expected no format: a job's results have their own")
        elif self.fields or self.where:
            name = "fields" if self.fields else "where"
            raise ValueError(f"{name} is for the results of a job")
        return self


#: How output is laid out below its URI: a folder for each job, or one for each day.
OutputLayout = Literal["job", "date"]


class OutputSpec(_Strict):
    """Where results and errors are written to as well."""

    format: OutputFormat = Field(
        default="jsonl", description="How the rows are written.", examples=["parquet"]
    )
    uri: str = Field(
        max_length=900,
        description="`s3://bucket/prefix/`, which ends in `/`. A folder below it gets the objects: see `layout`.",
        examples=["s3://corpora/labelled/"],
    )
    layout: OutputLayout | None = Field(
        default=None,
        description="`job`: a folder of the job's id. `date`: `date=YYYY-MM-DD/`, for readers of data sets, written "
        "when the job has completed; the newest run of a day replaces the others. Null: `date` for jobs of a schedule, "
        "else `job`.",
        examples=["date"],
    )

    @model_serializer(mode="wrap")
    def _without_what_was_not_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        entry: dict[str, Any] = handler(self)
        if self.layout is None:
            del entry["layout"]
        return entry

    @field_validator("uri")
    @classmethod
    def _s3_prefix(cls, value: str) -> str:
        match = re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/((?:[^/]+/)*)", value)
        if match is None or not value.isprintable():
            raise ValueError("expected s3://bucket/prefix/, with a / at its end")
        if {".", ".."} & set(match[1].split("/")):
            raise ValueError("'.' and '..' are not allowed in an object's name")
        return value


class JobTemplate(_Strict):
    """All of a submission but what it reads."""

    kind: str = Field(
        max_length=100,
        description="Name of a task kind, as `GET /v1/kinds` lists them.",
        examples=["classify"],
    )
    model: str | None = Field(
        default=None,
        max_length=1024,
        description="Model reference: `hf:org/name`, `registry:name@alias`, `s3://…`, `pkg:…`.",
        examples=["registry:tickets@prod"],
    )
    name: str | None = Field(
        default=None, max_length=200, description="A name for people.", examples=["nightly-tickets"]
    )
    params: dict[str, Any] = Field(
        default_factory=dict, description="Parameters of the kind.", examples=[{"top_k": 3}]
    )
    priority: Annotated[Priority, Field(strict=False)] = Field(
        default=Priority.NORMAL,
        description="Higher priorities are served first.",
        examples=["normal"],
    )
    max_errors: int | str | None = Field(
        default=None,
        description="The job fails when more rows than this fail: a number, or a percentage of all rows.",
        examples=["1%"],
    )
    completion_window: str | None = Field(
        default=None,
        pattern=r"^[1-9][0-9]{0,4}[mhd]$",
        description="Time after which the job expires: minutes, hours or days. Rows done by then are kept, the others "
        "become `expired` in the errors.",
        examples=["24h"],
    )
    metadata: dict[FieldName, Annotated[str, StringConstraints(max_length=500)]] = Field(
        default_factory=dict,
        max_length=50,
        description="Up to 50 strings of the submitter's own, given back with the job.",
        examples=[{"team": "support"}],
    )
    output: OutputSpec | None = Field(
        default=None,
        description="Write results and errors there too, when the job ends. What could not be written is a warning, "
        "`output_not_written`; results can be fetched all the same.",
    )
    webhook: WebhookSpec | None = Field(
        default=None, description="Whom to tell when the job has ended."
    )

    @model_serializer(mode="wrap")
    def _without_what_was_not_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Hashes of bodies stand in stores that were filled before these fields existed.
        entry: dict[str, Any] = handler(self)
        return {
            name: value
            for name, value in entry.items()
            if value is not None or name not in ("output", "webhook")
        }

    @field_validator("max_errors", mode="before")
    @classmethod
    def _max_errors(cls, value: object) -> object:
        return check_max_errors(value)

    @property
    def window_ms(self) -> int | None:
        """The completion window, in ms."""
        if self.completion_window is None:
            return None
        number, unit = self.completion_window[:-1], self.completion_window[-1]
        return int(number) * {"m": 60_000, "h": 3_600_000, "d": 86_400_000}[unit]

    @property
    def max_error_rows(self) -> int | None:
        """The limit as a number of rows, when it was given as one."""
        return self.max_errors if isinstance(self.max_errors, int) else None

    @property
    def max_error_share(self) -> float | None:
        """The limit as a share of all rows (0 to 1), when it was given as a percentage."""
        if isinstance(self.max_errors, str):
            return float(self.max_errors.rstrip("%")) / 100
        return None


class JobSpec(JobTemplate):
    """The body of a submission."""

    input: InputSpec = Field(description="Where the rows come from.")
