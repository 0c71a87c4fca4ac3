"""How models that follow instructions or examples are asked for a translation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nlp.prompts import TEXT

#: What a text is headed by in a prompt when its language is not known.
_ORIGINAL = "Original"


@dataclass(frozen=True)
class Example:
    """A text and its translation, shown to a model before the text that it shall translate."""

    text: str
    translation: str


def instruction_prompt(
    source: str | None, target: str, examples: Sequence[Example], instruction: str | None
) -> str:
    """What a model that chats is told; :data:`TEXT` stands where the text goes.

    Args:
        source: English name of the language, None where it is not known.
        instruction: in place of the built-in one; without :data:`TEXT` it stands before the text.
    """
    from_source = f" {source}" if source else ""
    told = instruction or (
        f"Translate the following{from_source} text into {target}. Reply with the translation only."
    )
    shown = "\n\n".join(f"{example.text}\n=> {example.translation}" for example in examples)
    if shown:
        told = f"{told}\n\nFor example:\n\n{shown}"
    return told if TEXT in told else f"{told}\n\n{TEXT}"


def continuation_prompt(source: str | None, target: str, examples: Sequence[Example]) -> str:
    """What a plain language model goes on from: examples, then the text.

    Headings stand on lines of their own, so that a text is cut into the same tokens wherever it stands.
    """
    shots = [
        f"{source or _ORIGINAL}:\n{one.text}\n{target}:\n{one.translation}\n\n" for one in examples
    ]
    return f"{''.join(shots)}{source or _ORIGINAL}:\n{TEXT}\n{target}:\n"
