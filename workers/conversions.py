"""Models as engines want them, made once for all workers: kept in the store by content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import structlog

from jobs.errors import Unavailable
from jobs.kinds import LoadOptions
from jobs.names import CONVERSIONS
from nlp.engines.conversions import conversion_folder, conversion_of
from storage.objects import ObjectMissing, ObjectStore
from storage.registry import download
from workers.disk_cache import DiskCache
from workers.model_files import once

log = structlog.get_logger(__name__)

#: Written last, with the names and sizes of the files: without it a conversion is not there.
_COMPLETE = "_COMPLETE"


class Conversions:
    """Conversions on this host and in the store.

    Two workers that convert the same model write the same files, so that it does not matter who is first.
    """

    def __init__(self, store: ObjectStore, disk: DiskCache) -> None:
        self._store = store
        self._disk = disk
        self._folder = disk.root / "conversions"

    @contextmanager
    def at_hand(self, files: Path, how: LoadOptions) -> Iterator[LoadOptions]:
        """Options to load a model with: what was converted before is fetched first, what is new is kept after.

        Raises:
            Unavailable: the store is away, and the conversion is needed from it.
        """
        name = conversion_of(files, how)
        if name is None:
            yield how
            return
        folder = conversion_folder(self._folder, files, name)
        self._disk.hold(folder.parent)
        prefix = f"{CONVERSIONS}{folder.parent.name}/{name}/"
        kept = self._fetch(prefix, folder)
        yield replace(how, conversions=self._folder)
        if not kept and folder.is_dir():
            self._keep(prefix, folder)

    def _fetch(self, prefix: str, folder: Path) -> bool:
        """Whether the store holds it; then this host does too."""
        try:
            listed = orjson.loads(self._store.get(prefix + _COMPLETE))
        except ObjectMissing:
            return False

        def fetch(target: Path) -> None:
            for name, size in listed.items():
                download(self._store, prefix + name, target / name)
                if (target / name).stat().st_size != size:
                    raise Unavailable(f"{prefix}{name} is not as large as it should be")

        self._disk.with_room(lambda: once(folder, fetch))
        return True

    def _keep(self, prefix: str, folder: Path) -> None:
        files = sorted(path for path in folder.iterdir() if path.is_file())
        try:
            for path in files:
                with path.open("rb") as stream:
                    self._store.put_stream(prefix + path.name, stream)
            listed = {path.name: path.stat().st_size for path in files}
            self._store.put_json(prefix + _COMPLETE, listed)
        except Unavailable as error:
            # The next worker converts again; this one can compute.
            log.warning("conversion not kept", conversion=prefix, reason=error.detail)
