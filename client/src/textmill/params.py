"""Turns ``--param k=v`` into the values that a kind's JSON schema wants. Pure.

``v`` is taken as JSON where that gives a wanted type, as a comma list where a list is wanted, else as text. So
``candidate_labels=a,b`` is a list, ``top_k=3`` a number, and ``5`` stays text for a parameter that wants text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

#: A schema that allows everything.
_ANYTHING: Schema = {}

_MISSING = object()


class ParamError(ValueError):
    """A parameter that the kind does not know, or whose value it cannot take."""


def parse_params(pairs: Iterable[str], schema: Schema) -> dict[str, Any]:
    """Values for ``k=v`` pairs by a kind's schema of parameters.

    Raises:
        ParamError: a pair has no ``=``, is given twice, names an unknown parameter or has a value of a wrong type.
    """
    texts: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ParamError(f"expected --param name=value, found {pair!r}")
        if name in texts:
            raise ParamError(f"parameter {name!r} is given twice")
        texts[name] = text
    known, open_ended = properties(schema, texts)
    values = {}
    for name, text in texts.items():
        if name not in known and not open_ended:
            names = ", ".join(sorted(known)) or "none"
            raise ParamError(f"unknown parameter {name!r}; this kind knows: {names}")
        try:
            values[name] = coerce(text, {"anyOf": known.get(name, [_ANYTHING])}, schema)
        except ParamError as error:
            raise ParamError(f"parameter {name!r}: {error}") from None
    return values


def properties(schema: Schema, texts: Mapping[str, str]) -> tuple[dict[str, list[Schema]], bool]:
    """The parameters that a schema knows, each with the schemas that it may follow.

    A union, such as fine-tuning's parameters by task, is narrowed to the members whose constants (``task``) agree with
    what was given.

    Returns:
        The schemas by name, and whether other names are allowed too.
    """
    members = [_object(member, schema) for member in _variants(schema, schema)]
    fitting = [member for member in members if _agrees(member, texts, schema)] or members
    known: dict[str, list[Schema]] = {}
    for member in fitting:
        for name, wanted in member.get("properties", {}).items():
            known.setdefault(name, []).append(wanted)
    return known, any(member.get("additionalProperties") is not False for member in fitting)


def coerce(text: str, wanted: Schema, root: Schema) -> Any:
    """The value that ``text`` stands for where ``wanted`` is asked for.

    Args:
        root: the whole schema, in which ``$ref`` is looked up.

    Raises:
        ParamError: it is of none of the wanted types.
    """
    variants = list(_variants(wanted, root))
    parsed = _json(text)
    for variant in variants:
        value = _as_number_or_flag(text, parsed, variant)
        if value is not _MISSING and _fits(value, variant):
            return value
    for variant in variants:
        # A JSON text in quotes is that text; anything else that JSON could mean is not what text was wanted for.
        if _is_text(variant):
            value = parsed if isinstance(parsed, str) else text
            if _fits(value, variant):
                return value
    for variant in variants:
        if _types(variant) == {"array"} and not text.lstrip().startswith("["):
            parts = [part.strip() for part in text.split(",")] if text.strip() else []
            items = variant.get("items", _ANYTHING)
            return [coerce(part, items, root) for part in parts]
    found = text if len(text) <= 60 else text[:59] + "…"
    raise ParamError(f"expected {describe(wanted, root)}, found {found!r}")


def describe(wanted: Schema, root: Schema) -> str:
    """What a schema wants, in a few words."""
    words: list[str] = []
    for variant in _variants(wanted, root):
        word = _describe_one(variant, root)
        if word not in words:
            words.append(word)
    return " or ".join(words) or "nothing"


def _describe_one(variant: Schema, root: Schema) -> str:
    choices = _choices(variant)
    if choices is not None:
        return ", ".join(str(choice) for choice in choices)
    names = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "text",
        "null": "null",
        "object": "a JSON object",
    }
    words = []
    for name in sorted(_types(variant)):
        if name == "array":
            words.append(f"a list of ({describe(variant.get('items', _ANYTHING), root)})")
        else:
            words.append(names.get(name, name))
    return " or ".join(words) or "anything"


def _variants(schema: Schema, root: Schema, depth: int = 0) -> Iterator[Schema]:
    """The alternatives of a schema with references and unions resolved."""
    if depth > 20:  # a reference to itself
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from _variants(_resolve(reference, root), root, depth + 1)
        return
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            for member in schema[key]:
                yield from _variants(member, root, depth + 1)
            return
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
        yield from _variants(schema["allOf"][0], root, depth + 1)
        return
    yield schema


def _resolve(reference: str, root: Schema) -> Schema:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else _ANYTHING


def _object(schema: Schema, root: Schema) -> Schema:
    """A schema of an object with the properties of all its ``allOf`` members."""
    members = schema.get("allOf")
    if not isinstance(members, list):
        return schema
    merged: dict[str, Any] = {}
    for member in members:
        for variant in _variants(member, root):
            merged |= _object(variant, root).get("properties", {})
    return {**schema, "properties": {**merged, **schema.get("properties", {})}}


def _agrees(member: Schema, texts: Mapping[str, str], root: Schema) -> bool:
    for name, wanted in member.get("properties", {}).items():
        choices = [_choices(variant) for variant in _variants(wanted, root)]
        if name not in texts or len(choices) != 1 or choices[0] is None:
            continue
        if texts[name].strip('"') not in [str(choice) for choice in choices[0]]:
            return False
    return True


def _json(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return _MISSING


def _as_number_or_flag(text: str, parsed: Any, variant: Schema) -> Any:
    """The JSON value, or what a person means who writes ``.5``, ``2.0`` or ``True``."""
    types = _types(variant)
    if isinstance(parsed, str) or (_is_text(variant) and types == {"string"}):
        return _MISSING
    if "boolean" in types and text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    if types & {"number", "integer"} and parsed is _MISSING:
        try:
            number = float(text)
        except ValueError:
            return _MISSING
        return number if math.isfinite(number) else _MISSING
    if types == {"integer"} and isinstance(parsed, float) and parsed.is_integer():
        return int(parsed)
    return parsed


def _types(variant: Schema) -> set[str]:
    declared = variant.get("type")
    if isinstance(declared, str):
        return {declared}
    if isinstance(declared, list):
        return {str(name) for name in declared}
    choices = _choices(variant)
    if choices is not None:
        return {_type_name(choice) for choice in choices}
    return set()


def _is_text(variant: Schema) -> bool:
    types = _types(variant)
    return not types or "string" in types


def _choices(variant: Schema) -> list[Any] | None:
    if "const" in variant:
        return [variant["const"]]
    choices = variant.get("enum")
    return list(choices) if isinstance(choices, list) else None


def _fits(value: Any, variant: Schema) -> bool:
    choices = _choices(variant)
    if choices is not None:
        return value in choices
    types = _types(variant)
    name = _type_name(value)
    return not types or name in types or (name == "integer" and "number" in types)


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "unknown")
