"""From a model reference to a folder of safetensors on this host."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from jobs.errors import InvalidRequest, JobFailure, NotFound, Unavailable
from jobs.modelref import ModelRef, Scheme
from jobs.s3uri import check_allowed
from nlp.adapter_files import AdapterConfig
from nlp.cache import AdapterFiles
from nlp.files import find_model_folder, is_adapter
from nlp.materialize import usable_folder
from storage.objects import ObjectMissing, ObjectStore
from storage.registry import download
from storage.tenants import allowed_prefixes
from workers.disk_cache import DiskCache, is_full
from workers.runtime import Runtime

#: What is fetched from a hub: weights in safetensors (or GGUF), configuration, tokenizer. Never pickles or code.
HUB_PATTERNS = [
    "*.safetensors",
    "*.safetensors.index.json",
    "*.gguf",
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a model is loaded from."""

    key: str  #: content key of the model in ``folder``: for an adapter that of its base
    folder: Path
    adapter: AdapterFiles | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies in a folder of a bucket."""

    bucket: str
    names: list[str]
    digest: str  #: over names, ETags and sizes, in hex


class ModelFiles:
    """Brings the files of models to this host, once each."""

    def __init__(self, runtime: Runtime) -> None:
        self._settings = runtime.settings
        self._store = runtime.store
        self._ledger = runtime.ledger
        self._registry = runtime.registry
        self._cache = runtime.settings.model_cache_dir.absolute()
        self.disk = DiskCache(self._cache, runtime.settings.cache_max_bytes)

    def folder(self, tenant: str, ref: ModelRef) -> Path:
        """A local folder with the model, in safetensors; GGUF is converted once and kept. In :attr:`disk` it is held.

        Raises:
            JobFailure: there is no such model (``model_not_found``), or it may not be used.
            Unavailable: hub or store are away, or there is no room on the disk.
        """
        fetch: dict[Scheme, Callable[[], Path]] = {
            Scheme.PKG: lambda: package_folder(ref.location),
            Scheme.FILE: lambda: self._local(ref),
            Scheme.HF: lambda: self._hub(ref),
            Scheme.REGISTRY: lambda: self._registered(tenant, ref),
            Scheme.S3: lambda: self._bucket(ref),
        }
        if ref.scheme not in fetch:
            raise _missing(ref, "it stands for a new model, from which only a training can start")
        find = fetch[ref.scheme]
        imported = self._cache / "imported"
        return self.disk.held(lambda: usable_folder(find_model_folder(find()), imported))

    def trainable(self, tenant: str, ref: ModelRef) -> Path | None:
        """The folder of a model that is to be trained further; None for one from scratch.

        Raises:
            JobFailure: as :meth:`folder` says; or it is an adapter (``model_unsupported``).
            Unavailable: hub or store are away.
        """
        if ref.scheme is Scheme.SCRATCH:
            return None
        folder = self.folder(tenant, ref)
        if is_adapter(folder):
            base = AdapterConfig.read(folder).base
            reason = f"{ref} is an adapter; train its base {base} instead"
            raise JobFailure("model_unsupported", reason, field="model")
        return folder

    def source(self, tenant: str, ref: ModelRef, settle: Callable[[ModelRef], ModelRef]) -> Source:
        """The files of a model; of an adapter those of its base too.

        Args:
            settle: given the reference of the base as found, gives the one to use: it may stand for something
                else tomorrow, and for all workers of a job it must be the same.

        Raises:
            JobFailure: as :meth:`folder` says, of the model or of its base.
            Unavailable: hub or store are away.
        """
        folder = self.folder(tenant, ref)
        if not is_adapter(folder):
            return Source(key=str(ref), folder=folder)
        base = settle(self.base_of(tenant, AdapterConfig.read(folder)))
        below = self.folder(tenant, base)
        if is_adapter(below):
            raise JobFailure("model_unsupported", f"{ref}: its base {base} is an adapter itself")
        return Source(
            key=str(base), folder=below, adapter=AdapterFiles(key=str(ref), folder=folder)
        )

    def base_of(self, tenant: str, config: AdapterConfig) -> ModelRef:
        """The base that an adapter names: by no other rules than if the adapter's owner had named it.

        Raises:
            JobFailure: it is no reference, or one that may not be used.
        """
        name = config.base
        if config.revision is not None and "@" not in name:
            name = f"{name}@{config.revision}"
        try:
            ref = ModelRef.parse(name)
            if ref.scheme is Scheme.S3:
                check_allowed(
                    f"{ref}/",
                    own_bucket=self._settings.s3_bucket,
                    allowed=allowed_prefixes(
                        self._ledger, tenant, self._settings.s3_allowed_prefixes
                    ),
                    field="model",
                )
        except InvalidRequest as error:
            reason = f"the adapter names {config.base!r} as its base: {error.detail}"
            raise JobFailure("model_not_found", reason, field="model") from None
        return ref

    def _local(self, ref: ModelRef) -> Path:
        if not self._settings.allow_file_models:
            raise JobFailure(
                "model_forbidden",
                "file: models are off (TEXTMILL_ALLOW_FILE_MODELS)",
                field="model",
            )
        folder = Path(ref.location)
        if not folder.is_dir():
            raise _missing(ref, "there is no such folder on the worker's host")
        return folder

    def pinned_base(self, tenant: str, ref: ModelRef) -> ModelRef:
        """The reference with what it stands for now: a commit of the hub, a version of the registry.

        Raises:
            JobFailure: there is no such model (``model_not_found``).
            Unavailable: hub or store are away.
        """
        if ref.scheme is not Scheme.REGISTRY:
            return self.pin(ref)
        try:
            _, found = self._registry.find(tenant, ref.location, ref.revision)
        except NotFound as error:
            raise _missing(ref, error.detail) from None
        return ModelRef(Scheme.REGISTRY, found.name, found.version)

    def pin(self, ref: ModelRef) -> ModelRef:
        """The reference with its hub revision fixed to a commit; others name a version or a place already.

        Raises:
            JobFailure: the hub has no such model (``model_not_found``).
            Unavailable: the hub is away.
        """
        if ref.scheme is not Scheme.HF or self._settings.hf_offline:
            return ref
        hub = HfApi(endpoint=self._settings.hf_endpoint)
        with _hub_faults(ref):
            commit = hub.model_info(ref.location, revision=ref.revision).sha
        return ModelRef(Scheme.HF, ref.location, commit)

    def _hub(self, ref: ModelRef) -> Path:
        with _hub_faults(ref):
            try:
                found = snapshot_download(
                    ref.location,
                    revision=ref.revision,
                    cache_dir=self._cache / "hub",
                    allow_patterns=HUB_PATTERNS,
                    endpoint=self._settings.hf_endpoint,
                    local_files_only=self._settings.hf_offline,
                )
            except LocalEntryNotFoundError as error:
                if self._settings.hf_offline:
                    reason = "it is not in the local cache and TEXTMILL_HF_OFFLINE forbids asking"
                    raise _missing(ref, reason) from error
                raise
        return Path(found)

    def _registered(self, tenant: str, ref: ModelRef) -> Path:
        try:
            owner, version = self._registry.find(tenant, ref.location, ref.revision)
        except NotFound as error:
            raise _missing(ref, error.detail) from None
        target = self._cache / "registry" / version.digest
        return once(target, lambda folder: self._registry.download(owner, version, folder))

    def _bucket(self, ref: ModelRef) -> Path:
        found = self.listing(ref)
        prefix = ref.location.partition("/")[2] + "/"
        store = self._store.in_bucket(found.bucket)

        def fetch(folder: Path) -> None:
            for name in found.names:
                _download_below(store, name, prefix, folder)

        return once(self._cache / "s3" / found.digest, fetch)

    # --- without bringing it here --------------------------------------------------------------------

    def listing(self, ref: ModelRef) -> Listing:
        """What lies below an ``s3://`` reference now.

        Raises:
            JobFailure: nothing does (``model_not_found``).
            Unavailable: the store is away.
        """
        bucket, _, prefix = ref.location.partition("/")
        try:
            found = list(self._store.in_bucket(bucket).list(prefix + "/"))
        except ObjectMissing:
            found = []
        if not found:
            raise _missing(ref, "nothing lies there")
        lines = "\n".join(f"{info.name} {info.etag} {info.size}" for info in found)
        digest = hashlib.sha256(lines.encode()).hexdigest()
        return Listing(bucket=bucket, names=[info.name for info in found], digest=digest)

    def place(self, ref: ModelRef) -> Path:
        """Where a model of an installed package, of a folder or of a hub's cache lies, as it is.

        Raises:
            JobFailure: not on this host (``model_not_found``), or it may not be used.
        """
        if ref.scheme is Scheme.PKG:
            return find_model_folder(package_folder(ref.location))
        return find_model_folder(self._local(ref) if ref.scheme is Scheme.FILE else self._hub(ref))

    def hub_names(self, ref: ModelRef) -> list[str]:
        """Names of the files that a hub has of a model.

        Raises:
            JobFailure: the hub has no such model (``model_not_found``).
            Unavailable: the hub is away.
        """
        hub = HfApi(endpoint=self._settings.hf_endpoint)
        with _hub_faults(ref):
            found = hub.model_info(ref.location, revision=ref.revision).siblings or []
        return [one.rfilename for one in found]

    def hub_file(self, ref: ModelRef, name: str) -> bytes:
        """A small file of a hub's model.

        Raises:
            JobFailure: the hub has no such model (``model_not_found``).
            Unavailable: the hub is away.
        """
        with _hub_faults(ref):
            path = hf_hub_download(
                ref.location,
                name,
                revision=ref.revision,
                cache_dir=self._cache / "hub",
                endpoint=self._settings.hf_endpoint,
            )
        return Path(path).read_bytes()


@contextmanager
def _hub_faults(ref: ModelRef) -> Iterator[None]:
    """Tell a model that is not there from a hub that is not."""
    try:
        yield
    except (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError) as error:
        raise _missing(ref, f"the hub answered {type(error).__name__}") from error
    except (HfHubHTTPError, httpx2.HTTPError, LocalEntryNotFoundError, OSError) as error:
        if isinstance(error, OSError) and is_full(error):
            raise  # the hub is not to blame
        raise Unavailable(f"the model hub cannot be reached ({type(error).__name__})") from error


def package_folder(package: str) -> Path:
    """The folder of an installed package, found without importing it.

    Raises:
        JobFailure: no such package is installed (``model_not_found``).
    """
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise JobFailure("model_not_found", f"no package {package} is installed", field="model")
    return Path(places[0])


def _download_below(store: ObjectStore, name: str, prefix: str, folder: Path) -> None:
    relative = name.removeprefix(prefix)
    if relative.endswith("/") or ".." in relative.split("/") or relative.startswith("/"):
        return  # a folder's own marker, or a name that would leave the folder
    download(store, name, folder / relative)


def once(target: Path, fetch: Callable[[Path], None]) -> Path:
    """Fill a folder by ``fetch`` unless it is there; others never see it half full."""
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".fetching-"))
        try:
            fetch(scratch)
            try:
                scratch.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def _missing(ref: ModelRef, reason: str) -> JobFailure:
    return JobFailure("model_not_found", f"{ref}: {reason}", field="model")
