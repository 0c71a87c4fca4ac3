"""Translations of documents of any length, all segments of many documents at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jobs.errors import JobFailure
from jobs.kinds import RunContext
from jobs.rows import Outcome, Row, RowFailure, Usage
from nlp.generation.decoding import Decoding, Generated, Prompt
from nlp.generation.frames import Frame
from nlp.generation.model import GeneratorModel
from nlp.sentences import split_to_fit
from nlp.translation.documents import Answer, Document, Key
from nlp.translation.families import Asking, family_of
from nlp.translation.prompts import Example
from nlp.translation.routes import Route, Router
from nlp.translation.segments import Part, split_document

#: Tokens of a segment at most, whatever the model could take: translators are trained on single sentences, and
#: leave out parts of much longer ones.
_MAX_SENTENCE = 256
_MAX_LINE = 1024
#: Fewest tokens of text that must fit beside prompt and answer.
_MIN_ROOM = 16
#: Tokens of a translation, by default: so many times those of the text, and some more. Rounded up, so that
#: texts of like length are computed together.
_GROWTH = 2
_SLACK = 16
_STEPS = (32, 64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True, kw_only=True)
class TranslationOptions:
    """What a translation shall be like; None leaves it to the model."""

    source_lang: str | None = None
    target_lang: str | None = None
    max_tokens: int | None = None
    num_beams: int | None = None
    temperature: float = 0.0
    seed: int = 0
    examples: tuple[Example, ...] = ()
    instruction: str | None = None


@dataclass(frozen=True)
class _Request:
    """A text of a document that shall be translated."""

    owner: int
    key: Key
    text: str


@dataclass(frozen=True)
class _Framed:
    """What stands around every text of one route."""

    frame: Frame
    forced: tuple[int, ...]
    room: int  #: tokens of text that fit in


@dataclass(frozen=True)
class _Chunk:
    """A request, or a part of one that is too long."""

    request: int
    prompt: Prompt
    before: str  #: white space
    after: str


class Translator:
    """A model together with a job's options; what the kind's ``prepare`` makes.

    Raises:
        JobFailure: ``invalid_params``, the options do not fit the model; ``engine_unsupported``, or not its engine.
    """

    def __init__(self, model: GeneratorModel, options: TranslationOptions) -> None:
        self._model = model
        self._options = options
        self._family = family_of(model, Asking(options.examples, options.instruction))
        self._router = Router(self._family, options.source_lang, options.target_lang)
        self._frames: dict[Route, _Framed] = {}
        if options.max_tokens is not None and options.max_tokens >= model.answer:
            raise JobFailure(
                "invalid_params",
                f"The model writes at most {model.answer} tokens, found {options.max_tokens}.",
                field="params.max_tokens",
            )
        model.check(self._decoding(1))
        usual = self._router.usual
        if usual is not None:
            self._framed(usual)  # whether there is room for it, before any row is read

    def run(self, rows: Sequence[Row], context: RunContext) -> list[Outcome]:
        """One outcome for each row, in order.

        The segments of all rows go through the model together; those whose placeholders it lost go again, in pieces.
        """
        outcomes: dict[int, Outcome] = {}
        documents: dict[int, Document] = {}
        for number, row in enumerate(rows):
            begun = self._begin(row)
            if isinstance(begun, Document):
                documents[number] = begun
            else:
                outcomes[number] = begun
        self._rounds(documents, context, passed=len(outcomes))
        outcomes.update((number, document.outcome()) for number, document in documents.items())
        return [outcomes[number] for number in range(len(rows))]

    def _begin(self, row: Row) -> Document | RowFailure:
        route = self._router.route(row)
        if isinstance(route, RowFailure):
            return route
        if route.stays:
            return Document(route, [Part(row.text, stays=True)])
        language = route.source.tag if route.source else None
        parts = split_document(row.text, language=language, sentences=self._family.by_sentence)
        return Document(route, parts)

    def _rounds(self, documents: Mapping[int, Document], context: RunContext, passed: int) -> None:
        """Let the model answer each document, and once more what it got wrong."""
        first = _requests(documents, Document.first)
        progress = _Progress(context)
        progress.pass_over(passed + len(documents) - len({request.owner for request in first}))
        for owner, answers in self._write(documents, first, progress).items():
            documents[owner].take_first(answers)
        second = _requests(documents, Document.second)
        again = self._write(documents, second, _Progress(context, counts=False))
        for owner, document in documents.items():
            document.take_second(again.get(owner, {}))

    def _write(
        self,
        documents: Mapping[int, Document],
        requests: Sequence[_Request],
        progress: _Progress,
    ) -> dict[int, dict[Key, Answer | RowFailure]]:
        """Answers by document and key, from one call of the model."""
        if not requests:
            return {}
        chunks = self._chunks(documents, requests)
        progress.expect([requests[chunk.request].owner for chunk in chunks])
        made = self._model.generate([chunk.prompt for chunk in chunks], progress.done)
        parts: list[list[Answer | RowFailure]] = [[] for _ in requests]
        for chunk, result in zip(chunks, made, strict=True):
            parts[chunk.request].append(self._answer(chunk, result))
        answers: dict[int, dict[Key, Answer | RowFailure]] = defaultdict(dict)
        for request, some in zip(requests, parts, strict=True):
            answers[request.owner][request.key] = _joined(some)
        return answers

    def _chunks(
        self, documents: Mapping[int, Document], requests: Sequence[_Request]
    ) -> list[_Chunk]:
        tokenized = self._model.tokenize([request.text for request in requests])
        chunks: list[_Chunk] = []
        for number, (request, ids) in enumerate(zip(requests, tokenized, strict=True)):
            framed = self._framed(documents[request.owner].route)
            if len(ids) <= framed.room:
                chunks.append(_Chunk(number, self._prompt(framed, ids), "", ""))
                continue
            texts = split_to_fit(
                request.text,
                framed.room,
                lambda parts: [len(part) for part in self._model.tokenize(parts)],
            )
            bodies = [text.strip() for text in texts]
            for text, body, part in zip(texts, bodies, self._model.tokenize(bodies), strict=True):
                before, _, after = text.partition(body)
                # Joined sentences may take a few tokens more than apart.
                prompt = self._prompt(framed, part[: framed.room])
                chunks.append(_Chunk(number, prompt, before, after))
        return chunks

    def _framed(self, route: Route) -> _Framed:
        if route not in self._frames:
            frame, forced = self._family.frame(route.source, route.target)
            self._frames[route] = _Framed(frame, forced, self._room(frame))
        return self._frames[route]

    def _room(self, frame: Frame) -> int:
        """Tokens of text that fit between the tokens around it, with an answer of the usual length.

        Raises:
            JobFailure: ``invalid_params``, too few.
        """
        left = self._model.context - len(frame)
        answer = self._options.max_tokens
        if self._model.is_seq2seq:
            left = min(left, (self._model.answer - _SLACK) // _GROWTH)
        else:
            left = left - answer if answer else (left - _SLACK) // (1 + _GROWTH)
        if left < _MIN_ROOM:
            raise JobFailure(
                "invalid_params",
                f"Prompt and answer leave no room for text: the model takes {self._model.context} tokens.",
                field="params.examples" if self._options.examples else "params.max_tokens",
            )
        return min(left, _MAX_SENTENCE if self._family.by_sentence else _MAX_LINE)

    def _prompt(self, framed: _Framed, ids: list[int]) -> Prompt:
        read = framed.frame.around(ids)
        wanted = _GROWTH * len(ids) + _SLACK
        wanted = next((step for step in _STEPS if step >= wanted), wanted)
        most = self._model.answer - (2 if self._model.is_seq2seq else len(read))
        decoding = self._decoding(max(1, min(self._options.max_tokens or wanted, most)))
        return Prompt(read, decoding, framed.forced)

    def _decoding(self, max_tokens: int) -> Decoding:
        return Decoding(
            max_tokens=max_tokens,
            num_beams=self._options.num_beams,
            temperature=self._options.temperature,
            seed=self._options.seed,
            no_loops=not self._model.is_seq2seq,
        )

    def _answer(self, chunk: _Chunk, result: Generated | RowFailure) -> Answer | RowFailure:
        if isinstance(result, RowFailure):
            return result
        text, cut = result.text.strip(), result.cut
        if not self._model.is_seq2seq:
            # It goes on with remarks, or with another text.
            text, further, _ = text.partition("\n")
            text, cut = text.strip(), cut and not further
        if not text:
            return RowFailure("empty_output", "The model wrote nothing.")
        usage = Usage(len(chunk.prompt), result.tokens)
        return Answer(f"{chunk.before}{text}{chunk.after}", usage, cut)


class _Progress:
    """Tells the worker of rows all of whose prompts are done."""

    def __init__(self, context: RunContext, *, counts: bool = True) -> None:
        self._context = context
        self._counts = counts
        self._owners: Sequence[int] = ()
        self._left: Counter[int] = Counter()

    def pass_over(self, rows: int) -> None:
        """So many rows need no prompts."""
        if rows:
            self._context.tick(rows)

    def expect(self, owners: Sequence[int]) -> None:
        """The row of each prompt."""
        self._owners = owners
        self._left = Counter(owners)

    def done(self, positions: Sequence[int]) -> None:
        """These prompts are done."""
        self._left.subtract(self._owners[position] for position in positions)
        ready = [owner for owner, left in self._left.items() if left == 0]
        for owner in ready:
            del self._left[owner]
        self._context.tick(len(ready) if self._counts else 0)


def _requests(
    documents: Mapping[int, Document], ask: Callable[[Document], Mapping[Key, str]]
) -> list[_Request]:
    return [
        _Request(owner, key, text)
        for owner, document in documents.items()
        for key, text in ask(document).items()
    ]


def _joined(parts: Sequence[Answer | RowFailure]) -> Answer | RowFailure:
    """The answer to a text from those to its parts; the first failure of any."""
    whole = Answer("")
    for part in parts:
        if isinstance(part, RowFailure):
            return part
        whole = Answer(whole.text + part.text, whole.usage + part.usage, whole.cut or part.cut)
    return whole
