"""What instruction models are told."""

from __future__ import annotations

from typing import Literal

Style = Literal["sentence", "paragraph", "bullets"]

#: Stands for the text while a prompt is built around it.
TEXT = "{text}"

#: New tokens that a summary may take by default.
MAX_TOKENS: dict[Style, int] = {"sentence": 64, "paragraph": 160, "bullets": 200}

_INSTRUCTIONS: dict[Style, str] = {
    "sentence": "Provide a concise, objective summary of the following text in one sentence.",
    "paragraph": "Provide a concise, objective summary of the following text in one paragraph.",
    "bullets": "Provide a concise, objective summary of the following text as three to five short bullet points.",
}

_LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "et": "Estonian", "fi": "Finnish", "fr": "French", "he": "Hebrew",
    "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sk": "Slovak", "sl": "Slovenian", "sv": "Swedish", "th": "Thai", "tr": "Turkish",
    "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


def summary_prompt(style: Style, language: str | None, instruction: str | None) -> str:
    """A prompt with :data:`TEXT` where the text goes; an instruction without that place stands before it."""
    told = instruction or _INSTRUCTIONS[style]
    if language is not None:
        told = f"{told} Write in {_LANGUAGES.get(language.lower(), language)}."
    return told if TEXT in told else f"{told}\n\n{TEXT}"


def plain_prompt(prompt: str) -> str:
    """The prompt for a model that was never taught to chat: it goes on after the last word."""
    return f"{prompt}\n\nSummary:"
