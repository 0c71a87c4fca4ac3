"""What a model is, whatever its name stands for tomorrow: outputs are only taken over from the very same one."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from jobs.errors import JobFailure, NotFound
from jobs.modelref import ModelRef, Scheme
from nlp.adapter_files import FACTS, AdapterConfig
from nlp.files import ADAPTER_CONFIG, fingerprint
from storage.objects import ObjectMissing
from storage.registry import download
from workers.model_files import ModelFiles
from workers.runtime import Runtime

#: How the content of a hub's model begins, and what stands between an adapter's and its base's.
_COMMIT, _OVER = "commit:", " over "

#: Puts a model's small file of this name at this path; False where it has none.
Fetch = Callable[[str, Path], bool]


def content_of(runtime: Runtime, owner: str, ref: ModelRef) -> str | None:
    """What a model's content is known by, that of an adapter's base included; None where nothing tells from here.

    Args:
        runtime: of this process.
        owner: tenant whose model it is.
        ref: as pinned.

    Raises:
        Unavailable: hub or store are away.
    """
    content = _Content(runtime, owner)
    ways: dict[Scheme, Callable[[ModelRef], str | None]] = {
        Scheme.HF: content.hub,
        Scheme.REGISTRY: content.registered,
        Scheme.S3: content.bucket,
        Scheme.PKG: content.local,
        Scheme.FILE: content.local,
    }
    try:
        return ways[ref.scheme](ref) if ref.scheme in ways else None
    except (JobFailure, NotFound, ObjectMissing):
        # Perhaps only the workers' hosts have it, or nobody has: then they will say so.
        return None


def never_changes(content: str) -> bool:
    """Whether a reference with this content will always have it: that of a hub names a commit."""
    return content.startswith(_COMMIT) and _OVER not in content


class _Content:
    def __init__(self, runtime: Runtime, owner: str) -> None:
        self._runtime = runtime
        self._owner = owner
        self._files = ModelFiles(runtime)

    def hub(self, ref: ModelRef) -> str | None:
        if self._runtime.settings.hf_offline:
            return self.local(ref)
        if ref.revision is None or not re.fullmatch(r"[0-9a-f]{40}", ref.revision):
            return None
        names = self._files.hub_names(ref)

        def fetch(name: str, path: Path) -> bool:
            if name not in names:
                return False
            path.write_bytes(self._files.hub_file(ref, name))
            return True

        return self._known(f"{_COMMIT}{ref.revision}", fetch)

    def registered(self, ref: ModelRef) -> str | None:
        registry = self._runtime.registry
        owner, version = registry.find(self._owner, ref.location, ref.revision)

        def fetch(name: str, path: Path) -> bool:
            if name not in version.files:
                return False
            path.write_bytes(registry.read(owner, version, name))
            return True

        return self._known(f"sha256:{version.digest}", fetch)

    def bucket(self, ref: ModelRef) -> str | None:
        listing = self._files.listing(ref)
        store = self._runtime.store.in_bucket(listing.bucket)

        def fetch(name: str, path: Path) -> bool:
            found = next((one for one in listing.names if one.rpartition("/")[2] == name), None)
            if found is not None:
                download(store, found, path)
            return found is not None

        return self._known(f"listing:{listing.digest}", fetch)

    def local(self, ref: ModelRef) -> str | None:
        folder = self._files.place(ref)
        return self._known(f"sha256:{fingerprint(folder)}", _files_in(folder))

    def _known(self, own: str, fetch: Fetch) -> str | None:
        """The content of a model; of an adapter with its base's, which its name may stand for another day."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if not fetch(ADAPTER_CONFIG, folder / ADAPTER_CONFIG):
                return own
            fetch(FACTS, folder / FACTS)
            base = self._files.base_of(self._owner, AdapterConfig.read(folder))
        pinned = self._files.pinned_base(self._owner, base)
        below = content_of(self._runtime, self._owner, pinned)
        return None if below is None else f"{own}{_OVER}{pinned} {below}"


def _files_in(folder: Path) -> Fetch:
    def fetch(name: str, path: Path) -> bool:
        if not (folder / name).is_file():
            return False
        path.write_bytes((folder / name).read_bytes())
        return True

    return fetch
