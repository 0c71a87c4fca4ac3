"""The calls about models, with what their answers mean, for the sync and the async client alike."""

from __future__ import annotations

from typing import Any

from textmill.call import Ask, ask, call
from textmill.errors import InputError
from textmill.job_calls import Adopt, J
from textmill.models import Alias, Model, to_alias, to_model
from textmill.paging import Page, to_page


def page(*, after: str | None = None) -> Ask[Page[Model]]:
    """One page of models."""
    request = call("GET", "models", query={"after": after})
    return ask(request, lambda raw: to_page(raw, to_model))


def get(name: str) -> Ask[Model]:
    """One model."""
    return ask(call("GET", "models", name), to_model)


def alias(name: str, alias: str, version: str) -> Ask[Any]:
    """Point an alias at a version."""
    # With a key: an answer that was lost must not stand in the alias's history twice.
    request = call("PUT", "models", name, "aliases", alias, body={"version": version})
    return ask(request.keyed(), lambda raw: raw)


def roll_back(name: str, alias: str) -> Ask[Alias]:
    """Point an alias at where it pointed before."""
    # With a key: an answer that was lost must not take it back twice.
    return ask(call("POST", "models", name, "aliases", alias, "rollback").keyed(), to_alias)


def show_alias(name: str, alias: str) -> Ask[Alias]:
    """An alias and its history."""
    return ask(call("GET", "models", name, "aliases", alias), to_alias)


def delete(name: str, *, version: str | None, alias: str | None) -> Ask[Any]:
    """Delete a version, an alias, or without either the whole model.

    Raises:
        InputError: both were named.
    """
    if version is not None and alias is not None:
        raise InputError("expected a version or an alias to delete, found both")
    path: tuple[str, ...] = ()
    if version is not None:
        path = ("versions", version)
    elif alias is not None:
        path = ("aliases", alias)
    return ask(call("DELETE", "models", name, *path), lambda raw: raw)


def import_model(adopt: Adopt[J], ref: str, *, name: str, key: str | None) -> Ask[J]:
    """Import a model; the answer is the job that does it."""
    return ask(call("POST", "models", body={"ref": ref, "name": name}).keyed(key), adopt)
