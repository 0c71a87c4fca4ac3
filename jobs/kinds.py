"""What a task kind is.

A kind is one class with four small methods, in one file. Built-in kinds lie in ``nlp/kinds/``; others come from
installed packages by the entry-point group ``textmill.kinds``. The worker calls, in this order:

1. :meth:`Kind.check` while planning, once per row, in a process without torch;
2. :meth:`Kind.load` once per model and device; what it returns is cached and shared between jobs;
3. :meth:`Kind.prepare` once per job and worker: whatever depends on the job's parameters;
4. :meth:`Kind.run` once per window of rows: a batch of rows in, a batch of outcomes out, in the same order. What
   :meth:`Kind.ahead` makes ready of the next window meanwhile, it finds in its context.

A file that defines a kind imports torch and transformers only inside methods, so that the API can read
parameter schemas without loading either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.devices import Device
from jobs.errors import InvalidRequest, JobFailure
from jobs.outtake.columns import ColumnType, check_columns
from jobs.rows import Outcome, Row, RowFailure

if TYPE_CHECKING:
    from jobs.measuring import Evaluator

#: Entry-point group in which third parties register kinds. Each entry names a :class:`Kind` subclass.
ENTRY_POINT_GROUP = "textmill.kinds"

#: The engine that others are compared with: as the first of :attr:`Kind.engines`, but as plainly as transformers
#: itself would compute. Nobody asks for it by name.
REFERENCE = "transformers"

#: How numbers are computed. ``auto`` leaves it to device and engine, ``exact`` is fp32 by the reference engine;
#: the others name one format, such as the one that a job began with.
Precision = Literal["auto", "exact", "fp32", "bf16", "fp16", "int8"]


class KindParams(BaseModel):
    """Base of every kind's parameters: unknown names are refused, nothing is coerced silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    precision: Literal["auto", "exact"] = Field(
        default="auto",
        description="`auto` computes in the fastest format that keeps results right; `exact` forces fp32.",
        examples=["auto"],
    )
    engine: Literal["auto", "torch", "ctranslate2", "openvino"] = Field(
        default="auto",
        description="What computes. `auto` measures on the device which engine is fastest for this model, "
        "and checks its results; an engine that is named is used without measuring.",
        examples=["auto"],
    )


def _no_tick(_rows: int) -> None:
    """Go on."""


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What surrounds a call of :meth:`Kind.prepare` or :meth:`Kind.run`."""

    device: Device
    #: Called after each batch with the number of rows just finished. Raises to stop the run when the job was
    #: cancelled or the worker must give its work back; let it pass through.
    tick: Callable[[int], None] = _no_tick
    #: What :meth:`Kind.ahead` made of the rows that :meth:`Kind.run` is given; None where nobody asked it.
    ahead: Any = None


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How :meth:`Kind.load` shall load a model."""

    device: Device
    precision: Precision = "auto"
    engine: str = "torch"  #: one of :attr:`Kind.engines`, or :data:`REFERENCE`; never ``auto``
    #: Local folder in which models converted for an engine are found, and are left for the next time. None:
    #: whatever is converted is gone with the model.
    conversions: Path | None = None


class LoadedModel(ABC):
    """A model in memory, ready to run; what :meth:`Kind.load` returns."""

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """Bytes of device memory that the weights take."""

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Facts for the job's ``model`` block: ``engine``, ``precision``, ``architecture``."""

    def adapted(self, adapter: Path, files: Path) -> LoadedModel:
        """This model with a LoRA adapter over it. The weights are shared: of the two only the one that was
        activated last may run, and ``memory_bytes`` of the new one counts what it takes beside this one.

        Args:
            adapter: folder of the adapter.
            files: folder that this model was loaded from.

        Raises:
            JobFailure: ``model_unsupported``, the adapter does not fit, or this sort of model takes none.
        """
        raise JobFailure(
            "model_unsupported", f"A {type(self).__name__} cannot be used with an adapter."
        )

    def activate(self) -> None:  # noqa: B027  (most models share nothing)
        """Called before :meth:`Kind.prepare` and each :meth:`Kind.run`."""

    @contextmanager
    def tracing(self) -> Iterator[list[Any]]:
        """Note what the model computes meanwhile, for :meth:`Kind.disagreement`; nothing by default."""
        yield []


@dataclass(frozen=True)
class Trial:
    """What one engine made of a few rows."""

    outcomes: Sequence[Outcome]
    trace: Sequence[Any] = ()  #: what :meth:`LoadedModel.tracing` noted


class NoModel(LoadedModel):
    """Stands in for the model of a kind that needs none."""

    @property
    def memory_bytes(self) -> int:
        return 0

    def describe(self) -> Mapping[str, Any]:
        return {"engine": "none"}


class Kind(ABC):
    """A kind of task. Instances hold no state: one serves all jobs of a process."""

    name: ClassVar[str]  #: as in ``POST /v1/jobs``: lower case and underscores
    summary: ClassVar[str]  #: one line for people
    Params: ClassVar[type[KindParams]] = KindParams
    needs_model: ClassVar[bool] = True
    loads_weights: ClassVar[bool] = (
        True  #: whether :meth:`load` fills device memory with the weights
    )
    #: What :meth:`load` can run models on, by the names of ``params.engine``. The first is the reference: it takes
    #: every model of the kind, and the results of the others are compared with its own.
    engines: ClassVar[tuple[str, ...]] = ("torch",)
    fields: ClassVar[frozenset[str]] = frozenset()  #: row fields that it reads beside ``text``
    #: Whether outputs stay right for as long as row, model and parameters do: incremental jobs take them over.
    carries: ClassVar[bool] = True
    #: Raise it with each change after which the same rows may give other outputs: none is taken over from before.
    revision: ClassVar[int] = 1
    #: Rows given to one call of :meth:`run`. A window is the unit of partial commits: long enough to fill
    #: batches of like length, short enough to take seconds.
    window_rows: ClassVar[int] = 512
    #: What the outputs hold, by name, each a column of its own when results are read as CSV or Parquet. Need not
    #: name everything: the rest of an output goes into the column ``output`` as JSON text.
    output_columns: ClassVar[Mapping[str, ColumnType]] = MappingProxyType({})

    def fields_of(self, params: Any) -> frozenset[str]:
        """Row fields that it reads beside ``text``, with these parameters."""
        return self.fields

    def evaluator(self, params: Any) -> Evaluator | None:
        """What measures the results of a job with these parameters, if they ask for it. Called once the results are
        written, in a process without torch."""
        return None

    def check(self, row: Row, params: Any) -> RowFailure | None:
        """Why this row can never be processed, or None. Runs without a model, on every row: be quick."""
        return None

    def load(self, files: Path, how: LoadOptions) -> LoadedModel:
        """Load a model from a folder of safetensors weights, configuration and tokenizer.

        Raises:
            JobFailure: this kind cannot use such a model (``model_unsupported``), or not on this engine
                (``engine_unsupported``).
        """
        return NoModel()

    def prepare(self, model: Any, params: Any, context: RunContext) -> Any:
        """Whatever :meth:`run` needs that depends on parameters but not on rows; None when nothing does.

        Raises:
            JobFailure: the parameters do not fit the model (``invalid_params``).
        """
        return None

    def search(self, params: Any) -> str:
        """What decides, of the parameters, which engine is right and fastest: a short name, fit for an object's name.

        Engines are checked and timed anew for each, and the result is remembered under it. By default nothing does.
        """
        return ""

    def ahead(self, model: Any, state: Any, rows: Sequence[Row], params: Any) -> Any:
        """What of the work on a window needs no device, such as its tokens: :meth:`run` finds it in its context.

        Called in a thread while the window before is computed, for some windows; :meth:`run` must do without it too,
        with the same outcomes. What it raises is forgotten: :meth:`run` is then called without.
        """
        return None

    @abstractmethod
    def run(
        self, model: Any, state: Any, rows: Sequence[Row], params: Any, context: RunContext
    ) -> list[Outcome]:
        """One outcome for each row, in the rows' order.

        The outcome of a row may not depend on which other rows are in the window; nor, of a kind that :attr:`carries`,
        on anything of the row but its text and the fields that the kind says it reads.
        """

    def disagreement(
        self, reference: Any, expected: Trial, found: Trial, *, exact: bool
    ) -> str | None:
        """Why another engine's outcomes are not as good as the reference's, or None when they are.

        Args:
            reference: the model that computed ``expected``, one row at a time in fp32.
            exact: whether the other engine computes in fp32 too, so that little may differ.

        By default outputs must be equal.
        """
        for number, (one, other) in enumerate(zip(expected.outcomes, found.outcomes, strict=True)):
            if one != other:
                return f"row {number} of the trial came out differently"
        return None


class KindRegistry(Mapping[str, Kind]):
    """The kinds this installation knows, by name."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._kinds = {kind.name: kind for kind in sorted(kinds, key=lambda kind: kind.name)}
        if len(self._kinds) != len(kinds):
            raise ValueError("two kinds have the same name")
        for kind in kinds:
            try:
                check_columns(kind.output_columns)
            except ValueError as error:
                raise ValueError(f"kind {kind.name}: {error}") from None

    def __getitem__(self, name: str) -> Kind:
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def require(self, name: str) -> Kind:
        """The kind with this name.

        Raises:
            InvalidRequest: there is none.
        """
        try:
            return self._kinds[name]
        except KeyError:
            known = ", ".join(self._kinds)
            raise InvalidRequest.of("kind", f"unknown kind; known: {known}", name) from None
