"""What a user may say about a training. Nothing but task and name must be said."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from jobs.kinds import KindParams

TaskName = Literal["classify", "summarize", "translate", "language_model"]
Schedule = Literal["linear", "cosine", "constant"]

#: A fraction of the rows, or the id of an uploaded file.
Fraction = Annotated[float, Field(ge=0, le=0.9)]
FileId = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Language = Annotated[str, StringConstraints(min_length=2, max_length=35)]


class TrainingParams(KindParams):
    """What to train and how. None stands for what suits the task."""

    task: TaskName = Field(
        description="What the model learns: `classify` (rows with `label` or `labels`), `summarize` and "
        "`translate` (rows with `target`), or `language_model` (text alone).",
        examples=["classify"],
    )
    output_name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$",
        description="Name in the registry; each training becomes its next version.",
        examples=["tickets"],
    )
    method: Literal["full", "lora"] = Field(
        default="full",
        description="`full` trains all weights; `lora` trains a small adapter, which is kept beside its base.",
        examples=["lora"],
    )

    validation: Fraction | FileId | None = Field(
        default=None,
        description="Rows that tell which state of the model is best: a fraction of the input, or an uploaded "
        "file's id. By default a tenth, at most 2,000 rows; 0 for none.",
        examples=[0.1],
    )
    test: Fraction | FileId | None = Field(
        default=None,
        description="Rows that the finished model is measured on: a fraction of the input, or an uploaded "
        "file's id. By default a tenth, at most 2,000 rows; 0 for none.",
        examples=[0.1],
    )
    group_field: Name | None = Field(
        default=None,
        description="A further field of the rows: the model is also measured for each of its values.",
        examples=["country"],
    )

    epochs: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="How often the rows are gone through.",
        examples=[3],
    )
    learning_rate: float | None = Field(
        default=None, gt=0, le=1, description="AdamW's, at its highest.", examples=[2e-4]
    )
    schedule: Schedule | None = Field(
        default=None,
        description="How the learning rate falls after the warm-up.",
        examples=["linear"],
    )
    warmup: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Share of the steps in which it rises.",
        examples=[0.1],
    )
    batch_size: int | None = Field(
        default=None, ge=1, le=65_536, description="Most rows of a batch.", examples=[32]
    )
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        le=16_777_216,
        description="Most tokens of a batch, padding included.",
        examples=[8192],
    )
    gradient_accumulation: int = Field(
        default=1, ge=1, le=4096, description="Batches to a step of the optimizer.", examples=[1]
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Compute activations twice rather than keep them: less memory, more time.",
        examples=[False],
    )
    weight_decay: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="AdamW's; biases and norms are spared.",
        examples=[0.01],
    )
    dropout: float | None = Field(
        default=None, ge=0, le=0.9, description="Dropout while training.", examples=[0.1]
    )
    label_smoothing: float | None = Field(
        default=None,
        ge=0,
        le=0.9,
        description="Share of each label's probability that is spread over all.",
        examples=[0.1],
    )
    class_weights: Literal["balanced"] | dict[str, float] | None = Field(
        default=None,
        description="Weights of the classes in the loss: `balanced` makes each class count alike; or a weight "
        "for each label that shall not weigh 1.",
        examples=["balanced"],
    )
    max_tokens: int | None = Field(
        default=None,
        ge=8,
        le=1_048_576,
        description="Length that texts are cut to. By default what the model can read.",
        examples=[256],
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**32 - 1,
        description="Of order, dropout and new weights: the same seed gives the same model on the same device.",
        examples=[0],
    )

    metric: Name | None = Field(
        default=None,
        description="The metric on the validation rows that says which state is best.",
        examples=["macro_f1"],
    )
    early_stopping: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Stop after so many evaluations without a better one. By default `classify` does after 3.",
        examples=[2],
    )
    checkpoint_seconds: float = Field(
        default=300,
        ge=0.1,
        le=86_400,
        description="Time between checkpoints: what a killed worker loses at most.",
        examples=[300],
    )

    lora_rank: int = Field(default=16, ge=1, le=1024, description="Rank of LoRA.", examples=[16])
    lora_alpha: float | None = Field(
        default=None, gt=0, le=4096, description="LoRA's alpha: twice the rank.", examples=[32]
    )
    lora_dropout: float = Field(
        default=0.0, ge=0, le=0.9, description="Dropout before LoRA's matrices.", examples=[0.05]
    )
    lora_targets: list[Name] | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Ends of the names of the layers that LoRA changes. By default all linear layers but the "
        "head.",
        examples=[["query", "value"]],
    )

    source_lang: Language | None = Field(
        default=None, description="`translate`: language of the texts.", examples=["en"]
    )
    target_lang: Language | None = Field(
        default=None, description="`translate`: language of the targets.", examples=["de"]
    )
    prompt: str | None = Field(
        default=None,
        max_length=4000,
        description="What a causal model is asked, with `{text}` where the text goes. By default what the "
        "kind of the same name asks.",
        examples=["Summarize in one sentence:\n{text}"],
    )
    max_target_tokens: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Length that targets are cut to.",
        examples=[128],
    )
    preset: Literal["tiny", "small", "base"] | None = Field(
        default=None, description="Size of a model from scratch.", examples=["small"]
    )
    vocabulary: int | None = Field(
        default=None,
        ge=64,
        le=262_144,
        description="Size of the vocabulary of a model from scratch.",
        examples=[8000],
    )

    @model_validator(mode="after")
    def _fractions_leave_rows(self) -> Self:
        if _share(self.validation) + _share(self.test) > 0.95:
            raise ValueError("expected validation and test to leave rows to train on")
        return self

    @model_validator(mode="after")
    def _prompt_has_a_place(self) -> Self:
        if self.prompt is not None and self.prompt.count("{text}") != 1:
            raise ValueError("expected exactly one `{text}` in prompt, where the text goes")
        return self

    @model_validator(mode="after")
    def _weights_are_positive(self) -> Self:
        if isinstance(self.class_weights, dict):
            for label, weight in self.class_weights.items():
                if not 0 <= weight <= 1e6:
                    raise ValueError(f"expected a weight from 0 to 1e6 for label {label!r}")
        return self


def _share(part: Any) -> float:
    return part if isinstance(part, float) else 0.0
