"""What a model is asked to write, and what it wrote."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How to choose tokens."""

    max_tokens: int
    min_tokens: int = 0
    num_beams: int | None = None  #: None: as the model's own generation configuration says
    temperature: float = 0.0  #: 0 takes the likeliest token each time
    seed: int = 0
    #: Rule out tokens that would complete a sequence of six for the second time in an answer. The prompt does not
    #: count: to repeat words of the text is what a summary is for. Six, because a year may take five tokens.
    no_loops: bool = False


@dataclass(frozen=True)
class Prompt:
    """What a model reads, special tokens included, and how it shall answer."""

    ids: list[int]
    decoding: Decoding
    forced: tuple[
        int, ...
    ] = ()  #: of encoder-decoders: how the answer begins, such as its language

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Written:
    """What an engine wrote for one prompt."""

    ids: list[int]  #: neither forced tokens nor the closing one are among them
    cut: bool  #: whether it was still writing at ``max_tokens``


@dataclass(frozen=True)
class Generated:
    """What the model wrote for one prompt."""

    text: str  #: without special tokens
    tokens: int  #: new tokens, the closing one not counted
    cut: bool  #: whether it was still writing at ``max_tokens``


def search_name(
    *, beams: int | None, temperature: float, most: int | None = None, least: int = 0
) -> str:
    """A name for searches between which the best engine may differ.

    Lengths count by their powers of two: a batch of long answers computes otherwise than one of short ones, but not
    for every token more.
    """
    parts = [
        "sampled" if temperature > 0 else "",
        "" if beams is None else f"beams{beams}",
        "" if most is None else f"most{2 ** (most - 1).bit_length()}",
        f"least{2 ** (least - 1).bit_length()}" if least else "",
    ]
    return "-".join(filter(None, parts))
