"""A model that writes: a tokenizer, frames for its prompts, and an engine that computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from transformers import PretrainedConfig

from jobs.errors import JobFailure
from jobs.kinds import LoadedModel, LoadOptions
from jobs.rows import RowFailure
from nlp.adapters import AdaptedBase, Adapter
from nlp.generation.checkpoint import Checkpoint
from nlp.generation.decoding import Decoding, Generated, Prompt, Written
from nlp.generation.engine import Done, GenerationEngine
from nlp.generation.engines import make_engine
from nlp.generation.frames import Frame, Framer


class GeneratorModel(LoadedModel):
    """A loaded decoder or encoder-decoder."""

    def __init__(self, checkpoint: Checkpoint, engine: GenerationEngine) -> None:
        self.checkpoint = checkpoint  #: tokenizer and configurations
        self.engine = engine
        self._trace: list[Any] | None = None
        self._framer = Framer(checkpoint.tokenizer, chats=self.chats, closes=checkpoint.is_seq2seq)
        self._base: AdaptedBase | None = None  # once there are adapters over it
        self._adapter: Adapter | None = None

    @classmethod
    def load(cls, files: Path, how: LoadOptions) -> GeneratorModel:
        """Load a model with a language-modelling head.

        Raises:
            JobFailure: ``model_unsupported``, it has none.
        """
        checkpoint = Checkpoint.read(files)
        return cls(checkpoint, make_engine(checkpoint, how))

    def adapted(self, adapter: Path, files: Path) -> GeneratorModel:
        if self.engine.network is None:
            return cast(GeneratorModel, super().adapted(adapter, files))
        if self._base is None:
            self._base = AdaptedBase(self.engine.network)
        loaded = self._base.load(adapter)
        if loaded.own:
            name = min(loaded.own)
            raise JobFailure(
                "model_unsupported",
                f"The adapter cannot be used: it has weights beside the changes of layers: {name}.",
            )
        twin = GeneratorModel(self.checkpoint.taught(adapter), self.engine)
        twin._base, twin._adapter = self._base, loaded
        return twin

    def activate(self) -> None:
        if self._base is not None:
            self._base.use(self._adapter)

    @property
    def memory_bytes(self) -> int:
        return self.engine.memory_bytes if self._adapter is None else self._adapter.memory_bytes

    def describe(self) -> Mapping[str, Any]:
        engine = self.engine
        return {
            "engine": engine.name,
            "precision": engine.precision,
            "architecture": engine.architecture,
        }

    @property
    def config(self) -> PretrainedConfig:
        """The model's configuration."""
        return self.checkpoint.config

    @property
    def is_seq2seq(self) -> bool:
        """Whether the model reads with one half and writes with the other."""
        return self.checkpoint.is_seq2seq

    @property
    def context(self) -> int:
        """Tokens that the model reads; of a decoder prompt and answer together."""
        return self.checkpoint.context

    @property
    def answer(self) -> int:
        """Tokens that the model can write at most."""
        return self.checkpoint.answer

    @property
    def chats(self) -> bool:
        """Whether the model has a chat template, that is was taught to follow instructions."""
        return not self.is_seq2seq and self.checkpoint.tokenizer.chat_template is not None

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of bare texts. What looks like a special token in them is ordinary text."""
        return self._framer.tokenize(texts)

    def frame(self, prompt: str) -> Frame:
        """As :meth:`Framer.frame` says."""
        return self._framer.frame(prompt)

    def check(self, decoding: Decoding) -> None:
        """Whether the engine can do all of this; :meth:`GenerationEngine.check` says what it raises."""
        self.engine.check(decoding)

    def generate(self, prompts: Sequence[Prompt], done: Done) -> list[Generated | RowFailure]:
        """Continue, or for seq2seq answer, each prompt; :meth:`GenerationEngine.write` says how."""
        written = self.engine.write(prompts, done)
        if self._trace is not None:
            self._trace += zip(prompts, written, strict=True)
        return [made if isinstance(made, RowFailure) else self._generated(made) for made in written]

    @contextmanager
    def tracing(self) -> Iterator[list[Any]]:
        """Note pairs of :class:`Prompt` and what was written for it."""
        trace: list[Any] = []
        self._trace = trace
        try:
            yield trace
        finally:
            self._trace = None

    def _generated(self, written: Written) -> Generated:
        tokenizer = self.checkpoint.tokenizer
        text = cast(str, tokenizer.decode(written.ids, skip_special_tokens=True))
        return Generated(text, len(written.ids), written.cut)
