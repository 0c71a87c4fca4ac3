"""How each family of models is told which languages to translate between.

=================  =====================================================================================
Marian             the pair is the model's own; those with several targets read ``>>deu<<`` in front
M2M100, NLLB,      the tokenizer puts the source's token beside the text, and the answer is forced to begin
mBART              with the target's
T5                 a prefix, ``translate English to German:``; MADLAD reads ``<2de>``
decoders           an instruction where they chat, else headings and examples
others             nothing: whatever they were trained for
=================  =====================================================================================
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.errors import JobFailure
from nlp.files import read_json
from nlp.generation.frames import Frame
from nlp.generation.model import GeneratorModel
from nlp.prompts import TEXT
from nlp.translation.languages import Language, Languages, is_language
from nlp.translation.prompts import Example, continuation_prompt, instruction_prompt

_T5 = frozenset({"t5", "mt5", "umt5", "longt5", "switch_transformers"})
#: Tokens that name a language: ``__de__`` of M2M100, ``deu_Latn`` of NLLB, ``de_DE`` of mBART.
_CODES = re.compile(r"__([a-z]{2,3})__|([a-z]{2,3}_(?:[A-Z]{2}|[A-Z][a-z]{3}))")
_MARIAN_TARGET = re.compile(r">>([A-Za-z]{2,3}(?:_[A-Za-z]{2,4})?)<<")
_MARIAN_NAME = re.compile(
    r"opus-mt(?:-tc[\w.]*)?(?:-(?:tiny|base|big))?-([A-Za-z_]+)-([A-Za-z_]+)$"
)
_MADLAD_TARGET = re.compile(r"<2([a-z]{2,3}(?:_[A-Z][A-Za-z]+)?)>")
_T5_TASK = re.compile(r"translation_([a-z]{2,3})_to_([a-z]{2,3})")


class Family(ABC):
    """One model's languages, and the tokens that tell it of them."""

    sources: Languages
    targets: Languages
    #: Whether it was trained on single sentences; others read whole lines.
    by_sentence = True
    #: Whether it must be told what a text is written in.
    needs_source = False

    @property
    def default_source(self) -> Language | None:
        """The language that it translates from, where it is the only one."""
        return self.sources.only

    @property
    def default_target(self) -> Language | None:
        """The language that it translates into unless told otherwise."""
        return self.targets.only

    def check(self, source: Language | None, target: Language) -> str | None:
        """Why the model cannot translate between two languages that it knows, or None."""
        return None

    @abstractmethod
    def frame(self, source: Language | None, target: Language) -> tuple[Frame, tuple[int, ...]]:
        """Token ids around a text, and those that its translation is forced to begin with."""


@dataclass(frozen=True)
class Asking:
    """What a job says to models that can be told more than languages."""

    examples: tuple[Example, ...] = ()
    instruction: str | None = None


def family_of(model: GeneratorModel, asking: Asking) -> Family:
    """The family that a model belongs to, by its configuration and tokenizer.

    Raises:
        JobFailure: ``invalid_params``, it takes neither examples nor instructions.
    """
    if not model.is_seq2seq:
        return Decoder(model, asking)
    for name in ("examples", "instruction"):
        if getattr(asking, name):
            raise JobFailure(
                "invalid_params",
                f"A sequence-to-sequence model takes no {name}: leave `{name}` out.",
                field=f"params.{name}",
            )
    tokenizer: Any = model.checkpoint.tokenizer
    kind = model.config.model_type
    if kind == "marian":
        return Marian(model)
    tokens = language_tokens(tokenizer) if hasattr(tokenizer, "src_lang") else {}
    if tokens:
        return Multilingual(model, tokens)
    if kind in _T5:
        madlad = _matches(_MADLAD_TARGET, tokenizer.get_vocab())
        return Prefixed(model, madlad) if madlad else T5(model)
    return Plain(model)


def language_tokens(tokenizer: Any) -> dict[str, int]:
    """Ids of the tokens that name languages, by code."""
    found: dict[str, int] = {}
    # M2M100's tokenizer knows them by itself, whether or not its files declare them as special.
    for token in [*tokenizer.all_special_tokens, *getattr(tokenizer, "lang_token_to_id", ())]:
        match = _CODES.fullmatch(token)
        if match:
            found[match[1] or match[2]] = tokenizer.convert_tokens_to_ids(token)
    return found


class Multilingual(Family):
    """M2M100, NLLB and mBART."""

    needs_source = True

    def __init__(self, model: GeneratorModel, tokens: dict[str, int]) -> None:
        self._model = model
        self._ids = tokens
        self.sources = Languages(tokens)
        codes = {number: code for code, number in tokens.items()}
        generation = model.checkpoint.generation
        #: Of the first mBART, which starts with the one language that it was tuned to write.
        self._start = codes.get(generation.decoder_start_token_id)
        self.targets = Languages([self._start]) if self._start else self.sources
        forced = codes.get(generation.forced_bos_token_id)
        self._default = self.targets.find(forced) if forced else self.targets.only

    @property
    def default_target(self) -> Language | None:
        return self._default

    def frame(self, source: Language | None, target: Language) -> tuple[Frame, tuple[int, ...]]:
        tokenizer: Any = self._model.checkpoint.tokenizer
        tokenizer.src_lang = _needed(source).code
        frame = self._model.frame(TEXT)
        return frame, () if self._start else (self._ids[target.code],)


class Marian(Family):
    """OPUS-MT and other Marian models."""

    def __init__(self, model: GeneratorModel) -> None:
        self._model = model
        tokenizer: Any = model.checkpoint.tokenizer
        facts = read_json(model.checkpoint.files / "config.json") or {}
        named = _MARIAN_NAME.search(str(facts.get("_name_or_path", "")))
        source = tokenizer.source_lang or (named and named[1])
        target = tokenizer.target_lang or (named and named[2])
        # The tokenizer has found them already; to look through the whole vocabulary again takes time in each shard.
        codes = tokenizer.supported_language_codes
        self._tokens = _matches(
            _MARIAN_TARGET, {code: tokenizer.convert_tokens_to_ids(code) for code in codes}
        )
        # Families of languages, such as `mul` and `ROMANCE`, say nothing about single ones.
        self.sources = Languages([source] if source and is_language(source) else None)
        own = [target] if target and is_language(target) else None
        self.targets = Languages(self._tokens or own)

    def frame(self, source: Language | None, target: Language) -> tuple[Frame, tuple[int, ...]]:
        frame = self._model.frame(TEXT)
        if target.code not in self._tokens:
            return frame, ()
        return Frame([self._tokens[target.code], *frame.before], frame.after), ()


class Prefixed(Family):
    """MADLAD: a token of the target language in front of the text."""

    def __init__(self, model: GeneratorModel, tokens: dict[str, int]) -> None:
        self._model = model
        self.sources = Languages(None)
        self.targets = Languages(tokens)

    def frame(self, source: Language | None, target: Language) -> tuple[Frame, tuple[int, ...]]:
        return self._model.frame(f"<2{target.code}> {TEXT}"), ()


class T5(Family):
    """T5 and its kin: the pairs of ``task_specific_params`` where there are any, else all that have names."""

    needs_source = True

    def __init__(self, model: GeneratorModel) -> None:
        self._model = model
        tasks = getattr(model.config, "task_specific_params", None) or {}
        self._prefixes = {
            (match[1], match[2]): str(task.get("prefix", ""))
            for name, task in tasks.items()
            if (match := _T5_TASK.fullmatch(name))
        }
        self.sources = Languages(dict.fromkeys(pair[0] for pair in self._prefixes) or None)
        self.targets = Languages(dict.fromkeys(pair[1] for pair in self._prefixes) or None)

    def check(self, source: Language | None, target: Language) -> str | None:
        if not self._prefixes or source is None or (source.code, target.code) in self._prefixes:
            return None
        pairs = ", ".join(f"{one} to {other}" for one, other in self._prefixes)
        return f"The model does not translate {source.code} to {target.code}, only {pairs}."

    def frame(self, source: Language | None, target: Language) -> tuple[Frame, tuple[int, ...]]:
        source = _needed(source)
        usual = f"translate {source.name} to {target.name}: "
        prefix = self._prefixes.get((source.code, target.code)) or usual
        return self._model.frame(f"{prefix}{TEXT}"), ()


class Plain(Family):
    """BART, Pegasus and others: one direction, which is not written in their files."""

    def __init__(self, model: GeneratorModel) -> None:
        self._model = model
        self.sources = self.targets = Languages(None)

    def frame(self, source: Language | None, target: Language) -> tuple[Frame, tuple[int, ...]]:
        return self._model.frame(TEXT), ()


class Decoder(Family):
    """Models that chat, or go on from examples."""

    by_sentence = False

    def __init__(self, model: GeneratorModel, asking: Asking) -> None:
        if asking.instruction and not model.chats:
            raise JobFailure(
                "invalid_params",
                "The model has no chat template and takes no instruction: give it `examples` instead.",
                field="params.instruction",
            )
        self._model = model
        self._asking = asking
        self.sources = self.targets = Languages(None)

    def frame(self, source: Language | None, target: Language) -> tuple[Frame, tuple[int, ...]]:
        name = source.name if source else None
        examples = self._asking.examples
        if self._model.chats:
            prompt = instruction_prompt(name, target.name, examples, self._asking.instruction)
        else:
            prompt = continuation_prompt(name, target.name, examples)
        return self._model.frame(prompt), ()


def _needed(source: Language | None) -> Language:
    if source is None:
        raise ValueError("this family must be told what a text is written in")
    return source


def _matches(pattern: re.Pattern[str], tokens: Mapping[str, int]) -> dict[str, int]:
    """Ids by what the pattern's group holds, of the tokens that fit it."""
    found = {}
    for token, number in tokens.items():
        match = pattern.fullmatch(token)
        if match:
            found[match[1]] = number
    return found
