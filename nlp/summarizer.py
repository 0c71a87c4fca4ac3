"""Summaries of documents of any length, many documents at a time.

A document that the model cannot take whole is cut into pieces, the pieces are summarized, and the joined
summaries take the document's place, until it fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.errors import JobFailure
from jobs.kinds import RunContext
from jobs.rows import Outcome, Row, RowFailure, Success, Usage
from nlp.generation.decoding import Decoding, Generated, Prompt
from nlp.generation.frames import Frame
from nlp.generation.model import GeneratorModel
from nlp.prompts import MAX_TOKENS, TEXT, Style, plain_prompt, summary_prompt
from nlp.sentences import bullet_points, drop_half_sentence, first_sentence, split_to_fit

#: Tokens of a document that are read at once, at most. Longer prompts cost memory and lose the thread.
_MAX_PIECE = 8192
#: Fewest tokens of text that must fit beside instruction and answer.
_MIN_PIECE = 32
#: Rounds of summarizing summaries. Each one shortens at least fourfold, so that this is out of reach for
#: a model that keeps to its limits; what is left then is cut.
_MAX_ROUNDS = 8


@dataclass(frozen=True, kw_only=True)
class SummaryOptions:
    """What a summary shall be like; None leaves it to the model."""

    max_tokens: int | None = None
    min_tokens: int = 0
    style: Style | None = None
    language: str | None = None
    instruction: str | None = None
    num_beams: int | None = None
    temperature: float = 0.0
    seed: int = 0


@dataclass
class _Document:
    """One row on its way."""

    text: str
    usage: Usage = field(default_factory=Usage)
    chunks: int = 0
    truncated: bool = False
    outcome: Outcome | None = None


@dataclass(frozen=True)
class _Piece:
    """A part of a document, to be summarized in this round."""

    owner: int
    prompt: Prompt
    last: bool


class Summarizer:
    """A model together with a job's options; what the kind's ``prepare`` makes."""

    def __init__(self, model: GeneratorModel, options: SummaryOptions, context: RunContext) -> None:
        self._model = model
        self._style: Style | None = options.style or (None if model.is_seq2seq else "sentence")
        max_tokens = options.max_tokens or MAX_TOKENS[self._style or "sentence"]
        self._frame = summary_frame(model, options, self._style)
        if model.is_seq2seq and max_tokens >= model.answer:
            raise _does_not_fit(
                f"The model writes at most {model.answer - 1} tokens: expected no more than that."
            )
        taken = len(self._frame) + (0 if model.is_seq2seq else max_tokens)
        self._room = min(model.context - taken, _MAX_PIECE)
        if self._room < _MIN_PIECE:
            raise _does_not_fit(
                f"An answer of {max_tokens} tokens and an instruction of {len(self._frame)} leave no room for "
                f"text: the model takes {model.context} tokens."
            )
        self._decoding = Decoding(
            max_tokens=max_tokens,
            min_tokens=options.min_tokens,
            num_beams=options.num_beams,
            temperature=options.temperature,
            seed=options.seed,
            no_loops=not model.is_seq2seq,
        )
        model.check(self._decoding)
        # A quarter of what one piece may hold, so that each round makes documents shorter.
        within = max(8, min(max_tokens, self._room // 4))
        self._decoding_pieces = replace(self._decoding, max_tokens=within, min_tokens=0)

    def run(self, rows: Sequence[Row], context: RunContext) -> list[Outcome]:
        """One outcome for each row, in order."""
        documents = [_Document(row.text.strip()) for row in rows]
        for number in range(_MAX_ROUNDS + 1):
            open_ones = [place for place, item in enumerate(documents) if item.outcome is None]
            if not open_ones:
                break
            self._round(documents, open_ones, context, final=number == _MAX_ROUNDS)
        return [document.outcome or _never_shorter() for document in documents]

    def _round(
        self,
        documents: Sequence[_Document],
        places: Sequence[int],
        context: RunContext,
        *,
        final: bool,
    ) -> None:
        """Summarize every piece of every open document once."""
        whole = self._model.tokenize([documents[place].text for place in places])
        pieces: list[_Piece] = []
        for place, ids in zip(places, whole, strict=True):
            pieces += self._pieces(documents[place], place, ids, final=final)
        made = self._model.generate(
            [piece.prompt for piece in pieces],
            lambda batch: context.tick(sum(pieces[number].last for number in batch)),
        )
        parts: dict[int, list[str]] = {place: [] for place in places}
        for piece, result in zip(pieces, made, strict=True):
            document = documents[piece.owner]
            if isinstance(result, RowFailure):
                document.outcome = document.outcome or result
                continue
            document.usage += Usage(len(piece.prompt), result.tokens)
            if piece.last and document.outcome is None:
                document.outcome = self._success(document, result)
            else:
                parts[piece.owner].append(self._tidy(result, "paragraph"))
        for place in places:
            if documents[place].outcome is None:
                documents[place].text = "\n".join(part for part in parts[place] if part)

    def _pieces(
        self, document: _Document, place: int, ids: list[int], *, final: bool
    ) -> list[_Piece]:
        if len(ids) <= self._room or final:
            document.truncated |= len(ids) > self._room
            return [self._piece(place, ids, last=True)]
        texts = split_to_fit(
            document.text,
            self._room,
            lambda parts: [len(part) for part in self._model.tokenize(parts)],
        )
        document.chunks = document.chunks or len(texts)
        return [
            # Joined sentences may take a few tokens more than apart.
            self._piece(place, part, last=False)
            for part in self._model.tokenize([text.strip() for text in texts])
        ]

    def _piece(self, place: int, ids: list[int], *, last: bool) -> _Piece:
        decoding = self._decoding if last else self._decoding_pieces
        return _Piece(place, Prompt(self._frame.around(ids[: self._room]), decoding), last)

    def _success(self, document: _Document, result: Generated) -> Outcome:
        summary = self._tidy(result, self._style)
        if not summary:
            return RowFailure("empty_output", "The model wrote nothing.")
        output: dict[str, Any] = {"summary": summary}
        if document.chunks:
            output["chunks"] = document.chunks
        if document.truncated:
            output["truncated"] = True
        return Success(output, document.usage)

    def _tidy(self, result: Generated, style: Style | None) -> str:
        text = result.text.strip()
        if not self._model.is_seq2seq and not self._model.chats:
            text = text.partition("\n\n")[0]  # a plain model goes on with another text
        if result.cut:
            text = drop_half_sentence(text)
        if style == "sentence":
            text = first_sentence(text)
        return bullet_points(text) if style == "bullets" else text


def summary_frame(model: GeneratorModel, options: SummaryOptions, style: Style | None) -> Frame:
    """What stands around a text that shall be summarized.

    Raises:
        JobFailure: ``invalid_params``, the options do not fit the model.
    """
    if not model.is_seq2seq:
        prompt = summary_prompt(style or "sentence", options.language, options.instruction)
        return model.frame(prompt if model.chats else plain_prompt(prompt))
    if options.language is not None:
        raise JobFailure(
            "invalid_params",
            "A sequence-to-sequence model writes in the language it was trained for: leave `language` out.",
            field="params.language",
        )
    tasks = getattr(model.config, "task_specific_params", None) or {}
    prefix = tasks.get("summarization", {}).get("prefix")
    is_t5 = model.config.model_type in {"t5", "mt5", "umt5", "longt5", "switch_transformers"}
    if options.instruction is not None:
        if not is_t5:
            raise JobFailure(
                "invalid_params",
                "The model takes no instructions: leave `instruction` out, or use an instruction model.",
                field="params.instruction",
            )
        prefix = options.instruction
    elif prefix is None:
        prefix = "summarize: " if is_t5 else ""
    return model.frame(prefix if TEXT in prefix else f"{prefix} {TEXT}")


def _does_not_fit(why: str) -> JobFailure:
    return JobFailure("invalid_params", why, field="params.max_tokens")


def _never_shorter() -> RowFailure:
    return RowFailure("inference_failed", "The document could not be made short enough.")
