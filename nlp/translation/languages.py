"""Language codes: what users write and what models know them by.

Models name languages in ways of their own (``de``, ``de_DE``, ``deu_Latn``, ``>>deu<<``). All of them are read as
language, script and region, with the aliases and likely scripts of CLDR, and so compared. In outputs a language is
named by its *tag*, whatever the model calls it: ``de``, and where the script is not the usual one, ``sr-Latn``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from babel import Locale
from babel.core import get_global

#: A region that says nothing: mBART writes ``en_XX``.
_NO_REGION = "XX"
#: Languages that CLDR keeps apart and models do not: a macrolanguage for its usual member.
_MEMBERS = {"nb": "no", "pbt": "ps", "quy": "qu", "fuv": "ff"}
#: Scripts under another name: Hangul alone for Korean as it is written.
_SCRIPTS = {"Hang": "Kore"}
_SUBTAGS = re.compile(r"[A-Za-z]{2,3}(?:[-_](?:[A-Za-z]{2}|[A-Za-z]{4}|[0-9]{3}))*")
#: How many languages an error lists.
_LISTED = 20


class UnknownLanguageError(ValueError):
    """A code that names no language, or none that the model knows; the message says which it does."""


@dataclass(frozen=True)
class Locus:
    """A code taken apart. Subtags as in BCP 47, the language without its aliases."""

    language: str
    script: str | None = None
    region: str | None = None

    @property
    def likely_script(self) -> str | None:
        """The script that the language is written in where none is named, by region if need be."""
        tags = [f"{self.language}_{self.region}", self.language] if self.region else [self.language]
        likely = get_global("likely_subtags")
        full = next((likely[tag] for tag in tags if tag in likely), "")
        return next((part for part in full.split("_")[1:] if len(part) == 4), None)

    @property
    def written_in(self) -> str | None:
        """The script, named or likely."""
        return self.script or self.likely_script


@dataclass(frozen=True)
class Language:
    """A language as one model knows it."""

    tag: str  #: the same for every model, such as ``de`` or ``zh-Hant``
    code: str  #: what this model calls it
    name: str  #: in English


class Languages:
    """The languages that one side of a model knows.

    Args:
        codes: what the model calls them; None: any language, by its tag.
    """

    def __init__(self, codes: Iterable[str] | None) -> None:
        self._open = codes is None
        self._loci = {code: parse(code) for code in codes or ()}
        self._known = {language.code: language for language in _tagged(self._loci)}

    @property
    def is_open(self) -> bool:
        """Whether any language will do."""
        return self._open

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Language]:
        return iter(self._known.values())

    @property
    def only(self) -> Language | None:
        """The one language, where there is only one."""
        return next(iter(self._known.values())) if len(self._known) == 1 else None

    def find(self, wanted: str) -> Language:
        """The language that a user means by a code or an English name.

        Raises:
            UnknownLanguageError: it is none, not one of these, or several.
        """
        wanted = wanted.strip()
        if wanted in self._known:
            return self._known[wanted]
        locus = _read(wanted)
        if self._open:
            if locus.language not in _names():
                raise UnknownLanguageError(
                    f"{wanted!r} names no language. Expected a code like 'de'."
                )
            return _language(_tag(locus), locus)
        chosen = self._matching(wanted, locus)
        if len(chosen) == 1:
            return self._known[chosen[0]]
        if chosen:
            raise UnknownLanguageError(
                f"{wanted!r} may be any of {', '.join(sorted(chosen))}: name one of them."
            )
        raise UnknownLanguageError(f"{wanted!r} is not a language of this model. {self.listing()}")

    def listing(self) -> str:
        """What an error says of the languages that are known."""
        codes = sorted(self._known)
        more = f" and {len(codes) - _LISTED} more" if len(codes) > _LISTED else ""
        return f"It knows {', '.join(codes[:_LISTED])}{more}."

    def _matching(self, wanted: str, locus: Locus) -> list[str]:
        """Codes that may be meant: narrowed by the model's own name, then script, then region."""
        own = re.split("[-_]", wanted.lower())[0]
        codes = [code for code in self._known if re.split("[-_]", code.lower())[0] == own]
        codes = codes or [
            code for code, known in self._loci.items() if known.language == locus.language
        ]
        if locus.script or locus.region:
            codes = [code for code in codes if self._loci[code].written_in == locus.written_in]
        tests = (
            lambda known: known.written_in == locus.written_in,
            lambda known: known.region == locus.region,
            lambda known: known.region is None,
        )
        for test in tests:
            narrowed = [code for code in codes if test(self._loci[code])]
            codes = narrowed or codes
        return codes


def parse(code: str) -> Locus:
    """Language, script and region of a code in any of the usual forms.

    ``deu_Latn``, ``de-DE``, ``zh_tw`` and ``en_XX`` are read; what has another form is a language by itself.
    """
    if not _SUBTAGS.fullmatch(code):
        return Locus(code)
    language, *rest = re.split("[-_]", code)
    canonical = get_global("language_aliases").get(language.lower(), language.lower())
    language, *implied = canonical.split("_")
    script = region = None
    for part in [*implied, *rest]:
        if len(part) == 4:
            script = _SCRIPTS.get(part.title(), part.title())
        elif part.upper() != _NO_REGION:
            region = part.upper()
    return Locus(_MEMBERS.get(language, language), script, region)


def is_language(code: str) -> bool:
    """Whether a code names one language, and not a family of them or nothing at all."""
    return parse(code).language in _names() and parse(code).language not in {"mul", "und", "zxx"}


def tag_of(code: str) -> str:
    """The tag of a code: ``de`` for ``deu_Latn``."""
    return _tag(parse(code))


def _read(wanted: str) -> Locus:
    locus = parse(wanted)
    by_name = _codes_by_name().get(wanted.casefold())
    # A code comes first: `ga` is Irish, and Ga another language.
    return Locus(by_name) if by_name and locus.language not in _names() else locus


def _tagged(loci: dict[str, Locus]) -> list[Language]:
    """Languages with tags of which no two are alike."""
    short = Counter(_tag(locus) for locus in loci.values())
    found: list[Language] = []
    for code, locus in loci.items():
        tag = _tag(locus)
        if short[tag] > 1 and locus.region:
            tag = f"{tag}-{locus.region}"
        if any(language.tag == tag for language in found):
            tag = code.replace("_", "-")
        found.append(Language(tag, code, _language(tag, locus).name))
    return found


def _tag(locus: Locus) -> str:
    unusual = locus.script is not None and locus.script != Locus(locus.language).likely_script
    usual = Locus(locus.language).likely_script
    if not unusual and locus.region and locus.written_in != usual:
        return f"{locus.language}-{locus.written_in}"  # zh-TW is written as zh-Hant
    return f"{locus.language}-{locus.script}" if unusual else locus.language


def _language(tag: str, locus: Locus) -> Language:
    name = _names().get(locus.language, locus.language)
    _, _, script = tag.partition("-")
    if len(script) == 4:
        name = f"{name} ({_scripts().get(script, script)})"
    return Language(tag, tag, name)


@cache
def _english() -> Locale:
    return Locale("en")


@cache
def _names() -> dict[str, str]:
    """English names by language. CLDR names members such as ``nb`` beside the macrolanguage."""
    return dict(_english().languages.items())


@cache
def _scripts() -> dict[str, str]:
    return dict(_english().scripts.items())


@cache
def _codes_by_name() -> dict[str, str]:
    """Languages by their English names in lower case."""
    return {name.casefold(): code for code, name in _names().items() if "_" not in code}
