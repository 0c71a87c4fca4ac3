"""Real text that every machine has: docstrings of the standard library, descriptions of installed packages."""

from __future__ import annotations

import ast
import random
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

#: Shorter docstrings say too little to be put under a topic, longer ones are mostly tables and examples.
_DOCSTRING_CHARACTERS = (90, 1200)

#: How much of a package's description is summarized.
_DESCRIPTION_CHARACTERS = (250, 700)

#: Standard library modules that hold tests, data or other languages' tables rather than prose.
_SKIPPED = {
    "antigravity",
    "encodings",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "test",
    "this",
    "turtledemo",
}

#: Chooses the same rows on every run.
_SEED = 20


@dataclass(frozen=True)
class Document:
    """A text and where it comes from."""

    id: str
    text: str

    def row(self) -> dict[str, str]:
        """As a row of a job's input."""
        return {"custom_id": self.id, "text": self.text}


def docstrings(count: int) -> list[Document]:
    """So many docstrings of modules, classes and functions of the standard library, in a fixed random order."""
    found = list(_all_docstrings(Path(sysconfig.get_path("stdlib"))))
    random.Random(_SEED).shuffle(found)  # noqa: S311  (a choice of examples, not a secret)
    return found[:count]


def _all_docstrings(library: Path) -> Iterator[Document]:
    for path in sorted(library.glob("*.py")) + sorted(library.glob("*/*.py")):
        top = path.relative_to(library).parts[0].removesuffix(".py")
        if top not in sys.stdlib_module_names or top in _SKIPPED or top.startswith("_"):
            continue
        try:
            tree = ast.parse(path.read_text("utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        name = ".".join(path.relative_to(library).with_suffix("").parts).removesuffix(".__init__")
        yield from _of_module(name, tree)


def _of_module(name: str, tree: ast.Module) -> Iterator[Document]:
    low, high = _DOCSTRING_CHARACTERS
    places: list[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef]] = [(name, tree)]
    places += [
        (f"{name}.{node.name}", node)
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    ]
    for place, documented in places:
        text = ast.get_docstring(documented)
        if text and low <= len(text) <= high and ">>>" not in text:
            yield Document(place, text)


def descriptions(count: int) -> list[Document]:
    """What so many of the installed packages say of themselves, as plain prose.

    Only descriptions that open with the package's name: others begin with news, thanks or rules.
    """
    found: dict[str, Document] = {}
    for distribution in distributions():
        # The description is the body of METADATA, a file in the form of an e-mail.
        _, _, body = (distribution.read_text("METADATA") or "").partition("\n\n")
        low, high = _DESCRIPTION_CHARACTERS
        prose = _prose(body)
        opening = prose.partition("\n")[0].lower()
        ours = distribution.name.startswith("textmill")
        if len(prose) >= low and distribution.name.lower() in opening and not ours:
            summary = (distribution.metadata["Summary"] or "").strip(" .")
            summary = summary.removeprefix(f"{distribution.name}: ")
            text = f"{distribution.name}: {summary}.\n{_cut(prose, high)}"
            found[distribution.name] = Document(distribution.name, text)
    chosen = [found[name] for name in sorted(found)]
    random.Random(_SEED).shuffle(chosen)  # noqa: S311
    return chosen[:count]


_MARKUP = (
    (r"<[^>]{0,300}>", " "),  # HTML
    (r"\[?!\[[^\]]{0,200}\]\([^)]{0,300}\)\]?(\([^)]{0,300}\))?", " "),  # Markdown images
    (r"\[([^\]]{1,120})\]\([^)]{0,300}\)", r"\1"),  # Markdown links
    (r"`([^`<]{1,120})(\s*<[^>]{0,300}>)?`_{0,2}", r"\1"),  # reStructuredText links and literals
    (r"[*`]+", ""),
)

#: Paragraphs about a project's people and rules, not about what it does.
_OFF_TOPIC = re.compile(
    r"[{}|=]{2,}|::|copyright|licen[sc]e|tidelift|pull request|issue|maintain|download|install|example|contribut|"
    r"documentation|open collective|donat|fund|companies|changelog|\bthe code\b|\bsee\b|\bshown\b|\byou can find\b",
    re.IGNORECASE,
)


def _prose(markup: str) -> str:
    """The paragraphs of a description that are sentences: no badges, headings, code, lists or tables."""
    for pattern, replacement in _MARKUP:
        markup = re.sub(pattern, replacement, markup)
    kept = []
    for paragraph in re.split(r"\n\s*\n", markup):
        lines = paragraph.strip().splitlines()
        text = " ".join(line.strip() for line in lines)
        is_code = paragraph.startswith(("    ", "\t", ".. ", ">>>", "$", "|", "#", "-", "+"))
        is_prose = re.fullmatch(r"[A-Z].{60,}[.!]", text) and text.count("http") == 0
        if is_prose and not is_code and not _OFF_TOPIC.search(text):
            kept.append(re.sub(r"\s+", " ", text))
    return "\n".join(kept)


def _cut(text: str, limit: int) -> str:
    """At most ``limit`` characters, ended after a sentence."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    return head[: head.rfind(". ") + 1] or head
