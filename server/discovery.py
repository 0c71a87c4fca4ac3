"""Finds the task kinds: built in, and from installed packages by entry points."""

from __future__ import annotations

from importlib.metadata import entry_points

from jobs.errors import TextmillError
from jobs.kinds import ENTRY_POINT_GROUP, Kind, KindRegistry
from nlp.kinds import BUILT_IN


class BrokenKind(TextmillError):
    """An installed package registers something that is no kind, or cannot be imported."""

    code, title = "broken_kind", "Broken task kind"


def discover() -> KindRegistry:
    """All kinds that this installation has. Imports no torch.

    Raises:
        BrokenKind: an entry point of the group ``textmill.kinds`` cannot be used.
    """
    found: list[Kind] = [kind() for kind in BUILT_IN]
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = point.load()
        except Exception as error:
            raise BrokenKind(
                f"kind {point.name} ({point.value}) cannot be imported: {error}"
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, Kind)):
            raise BrokenKind(
                f"kind {point.name} ({point.value}) is not a subclass of jobs.kinds.Kind"
            )
        found.append(loaded())
    try:
        return KindRegistry(found)
    except ValueError as error:
        raise BrokenKind(str(error)) from error
