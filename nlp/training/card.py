"""The model card: what is known of a trained model, as facts, in the format that hubs read."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml

#: Names of the two files in a product's folder.
CARD = "README.md"
FACTS = "model_card.json"

#: What our tasks are called by hubs.
_PIPELINES = {
    "classify": "text-classification",
    "summarize": "summarization",
    "translate": "translation",
    "language_model": "text-generation",
}

#: Packages whose versions decide what a training computes.
_CODE = ("textmill-server", "torch", "transformers", "tokenizers", "peft")


def code_versions() -> dict[str, str]:
    """Versions of the packages that decide what a training computes, of those that are installed."""
    found = {}
    for name in _CODE:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The facts of one trained model."""

    name: str  #: in the registry
    task: str
    method: str  #: ``full`` or ``lora``
    base: str  #: reference of what it was trained from, with its version, or ``scratch:…``
    job: str  #: that made it
    data_hash: str  #: by :func:`data_hash`
    rows: Mapping[str, int]  #: of each part of the data: ``train``, ``validation``, ``test``
    params: Mapping[str, Any]  #: of the job, with all defaults
    metrics: Mapping[str, float]  #: on rows that it was not trained on
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  #: by their names
    details: Mapping[str, Any] = field(default_factory=dict)  #: of the evaluation
    licence: str | None = None  #: of the base, as its card says it
    languages: Sequence[str] = ()  #: two-letter codes
    lineage: Sequence[str] = ()  #: references from the base back to the first one known
    code: Mapping[str, str] = field(default_factory=code_versions)  #: package to version
    measured: Mapping[str, Any] = field(default_factory=dict)  #: steps, seconds, device, threads

    @property
    def facts(self) -> dict[str, Any]:
        """What the registry keeps of it: all but the evaluation's tables, which can be long."""
        facts = asdict(self)
        groups = facts.pop("details").get("groups")
        if groups:
            facts["groups"] = {key: value for key, value in groups.items() if key != "groups"}
        return facts

    def write(self, folder: Path) -> None:
        """Write both files into a product's folder."""
        options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
        (folder / FACTS).write_bytes(orjson.dumps(asdict(self), option=options) + b"\n")
        (folder / CARD).write_text(self.markdown(), "utf-8")

    def markdown(self) -> str:
        """The card as hubs and people read it."""
        front = yaml.safe_dump(self._front(), sort_keys=False, allow_unicode=True)
        parts = [f"---\n{front}---\n\n# {self.name}\n", _table(("", ""), self._summary())]
        names = [*self.metrics, *(n for b in self.baselines.values() for n in b)]
        rows = [
            [name, *(_number(of.get(name)) for of in (self.metrics, *self.baselines.values()))]
            for name in dict.fromkeys(names)
        ]
        parts += ["## Metrics\n", _table(("metric", "this model", *self.baselines), rows)]
        groups = self.details.get("groups")
        if groups:
            parts += [f"## By `{groups['field']}`\n", _group_table(groups)]
        params = [[name, _value(value)] for name, value in self.params.items()]
        parts += ["## Parameters\n", _table(("parameter", "value"), params)]
        return "\n".join(parts)

    def _front(self) -> dict[str, Any]:
        """Front matter in the fields that the Hugging Face hub defines for model cards."""
        front: dict[str, Any] = {"pipeline_tag": _PIPELINES.get(self.task, self.task)}
        if self.method == "lora":
            front["library_name"] = "peft"
        else:
            front["library_name"] = "transformers"
        if self.licence:
            front["license"] = self.licence
        if self.languages:
            front["language"] = list(self.languages)
        if not self.base.startswith("scratch:"):
            front["base_model"] = self.base.removeprefix("hf:").split("@")[0]
        result = {
            "task": {"type": front["pipeline_tag"]},
            "dataset": {"name": f"sha256:{self.data_hash}", "type": "private"},
            "metrics": [
                {"type": name, "value": round(value, 6)} for name, value in self.metrics.items()
            ],
        }
        front["model-index"] = [{"name": self.name, "results": [result]}]
        return front

    def _summary(self) -> list[list[str]]:
        rows = ", ".join(f"{count:,} {part}" for part, count in self.rows.items())
        told = {
            "task": self.task,
            "method": self.method,
            "base": self.base,
            "lineage": " ← ".join(self.lineage),
            "licence": self.licence or "not known: the base names none",
            "language": ", ".join(self.languages),
            "rows": rows,
            "data, SHA-256": self.data_hash,
            "job": self.job,
            "code": ", ".join(f"{name} {version}" for name, version in self.code.items()),
            **{name.replace("_", " "): _value(value) for name, value in self.measured.items()},
        }
        return [[name, value] for name, value in told.items() if value]


def data_hash(files: Mapping[str, Path]) -> str:
    """SHA-256 over names and contents of the data, in the order of the names, in hex."""
    digest = hashlib.sha256()
    for name in sorted(files):
        with files[name].open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()


def base_facts(folder: Path | None, reference: str) -> tuple[str | None, list[str], list[str]]:
    """What a base says of itself: its licence, its languages, and the lineage that begins with it.

    Args:
        folder: of its files; None where there is no base.
        reference: what the base is.
    """
    lineage = [reference]
    if folder is None:
        return None, [], lineage
    card = folder / FACTS
    if card.is_file():
        known = orjson.loads(card.read_bytes())
        return known.get("licence"), known.get("languages") or [], lineage + known["lineage"]
    front = _front_matter(folder / CARD)
    licence, languages, base = (front.get(key) for key in ("license", "language", "base_model"))
    if isinstance(licence, str) and licence == "other":
        licence = front.get("license_name") or licence
    languages = [languages] if isinstance(languages, str) else languages
    named = [base] if isinstance(base, str) else base if isinstance(base, list) else []
    own = reference.partition(":")[2].partition("@")[0]
    lineage += [f"hf:{name}" if "/" in str(name) else str(name) for name in named if name != own]
    kept = [str(language) for language in languages] if isinstance(languages, list) else []
    return str(licence) if licence else None, kept, lineage


def _front_matter(path: Path) -> dict[str, Any]:
    """The YAML between the first two lines of dashes; empty where there is none that can be read."""
    if not path.is_file():
        return {}
    text = path.read_text("utf-8", "replace")
    opened, _, rest = text.partition("---\n")
    front, closed, _ = rest.partition("\n---")
    if opened.strip() or not closed:
        return {}
    try:
        found = yaml.safe_load(front)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _group_table(groups: Mapping[str, Any]) -> str:
    by, members = groups["by"], groups["groups"]
    rows = [
        [name or "(none)", f"{group['rows']:,}", _number(group["metrics"].get(by))]
        for name, group in members.items()
    ]
    table = _table((groups["field"], "rows", by), rows)
    if "gap" not in groups:
        return table
    worst = f"Worst: {_cell(groups['worst'])}, {_number(groups['worst_value'])}"
    return f"{table}\n{worst}; {_number(groups['gap'])} below {_cell(groups['best'])}.\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _value(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
