"""How far a job is finalized: kept in the ledger for whoever has to go on."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from workers.outputs import SectionState

SECTIONS = ("results", "errors")


@dataclass
class Progress:
    """What is finished, as recorded in the ledger for whoever has to go on."""

    token: str  #: names the output folder
    next_row: int = 0  #: all committed parts before this row are in the sections
    results: int = 0  #: lines
    errors: int = 0
    sections: dict[str, SectionState] = field(
        default_factory=lambda: {name: SectionState() for name in SECTIONS}
    )

    def encode(self) -> str:
        sections = {name: state.to_json() for name, state in self.sections.items()}
        return orjson.dumps({**self.__dict__, "sections": sections}).decode()

    @classmethod
    def decode(cls, text: str) -> Progress:
        data = orjson.loads(text)
        sections = {
            name: SectionState.from_json(state) for name, state in data.pop("sections").items()
        }
        return cls(**data, sections=sections)
