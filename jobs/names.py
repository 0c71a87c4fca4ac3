"""Names of objects in the store: everything of a tenant lies under ``tenants/<tenant>/``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from jobs.ranges import RowRange

#: Folder of all tenants.
TENANTS = "tenants/"

#: Folder of a time-ordered index of what was asked for: see :mod:`storage.intents`.
INTENTS = "system/intents/"

#: Object that says that this bucket holds a Textmill installation, with its secrets.
SYSTEM = "system/installation.json"

#: Folder of models as engines want them: by content of the model, then by conversion.
CONVERSIONS = "system/conversions/"

#: Folder of what was measured of engines: by content of the model, then kind and way to search, then machine.
ENGINES = "system/engines/"

#: The object of a model's version without which it does not exist.
VERSION_RECORD = "version.json"

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

#: Names of models, versions and aliases; two dots side by side are no part of one either.
MODEL_NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"

_MODEL_NAME = re.compile(MODEL_NAME_PATTERN)


def is_tenant(value: str) -> bool:
    """Whether ``value`` may name a tenant: 1 to 63 lower-case letters, digits and hyphens."""
    return _TENANT.fullmatch(value) is not None


def check_tenant(value: str) -> None:
    # A name with a slash in it would reach into another tenant's objects.
    if not is_tenant(value):
        raise ValueError(f"not a tenant's name: {value!r}")


def is_model_name(value: str) -> bool:
    """Whether ``value`` may name a registry model, a version or an alias. Never a path."""
    return _MODEL_NAME.fullmatch(value) is not None and ".." not in value


@dataclass(frozen=True)
class JobNames:
    """Where the objects of one job lie. Each retry has a folder of its own for what it plans and computes."""

    tenant: str
    job_id: str
    generation: int = 1

    def __post_init__(self) -> None:
        check_tenant(self.tenant)

    @property
    def prefix(self) -> str:
        return f"tenants/{self.tenant}/jobs/{self.job_id}/"

    @property
    def retries(self) -> str:
        return self.prefix + "retries/"

    def retry(self, generation: int) -> str:
        """Written before the ledger learns of a retry."""
        return f"{self.retries}{generation}.json"

    @property
    def _root(self) -> str:
        return self.prefix if self.generation == 1 else f"{self.retries}{self.generation}/"

    @property
    def spec(self) -> str:
        """The submission itself, with inline rows; written last, so a job without it does not exist."""
        return self.prefix + "job.json"

    @property
    def plan(self) -> str:
        return self.prefix + "plan.json"

    def sources(self, digest: str) -> str:
        """A list of sources that a plan names by its digest. Planners side by side may have found different ones."""
        return f"{self.prefix}sources/{digest}.json.zst"

    @property
    def base(self) -> str:
        """Written once where the model is an adapter: which base all workers put it over."""
        return self.prefix + "base.json"

    @property
    def engine(self) -> str:
        """Which engine and precision the job began with, written by the first worker that opened it."""
        return self.prefix + "engine.json"

    @property
    def cancel(self) -> str:
        """Written before the ledger learns of a cancel."""
        return self._root + "cancel.json"

    @property
    def sealed(self) -> str:
        """Written when planning has ended: how many rows there are, and warnings."""
        return self._root + "sealed.json"

    @property
    def manifest(self) -> str:
        """Written once, at the end: the job's last record and where its output lies."""
        return self._root + "manifest.json"

    @property
    def data(self) -> str:
        """Folder of a training's rows, by where they came from; every generation reads the same."""
        return self.prefix + "data/"

    def data_piece(self, name: str, rows: RowRange) -> str:
        return f"{self.data}{name}/{rows}.jsonl.zst"

    @property
    def data_record(self) -> str:
        """Written once all of a training's rows are there: how many."""
        return self.prefix + "data.json"

    @property
    def checkpoints(self) -> str:
        return self.prefix + "checkpoints/"

    def checkpoint(self, step: int, token: str) -> str:
        """Folder of one upload of a training's state."""
        return f"{self.checkpoints}{step:012d}.{token}/"

    @property
    def training_log(self) -> str:
        """What a training told of itself, a line each."""
        return self.prefix + "training.jsonl"

    @property
    def results(self) -> str:
        """A copy of the results, for people; the manifest names the real object."""
        return self.prefix + "results.jsonl"

    @property
    def errors(self) -> str:
        return self.prefix + "errors.jsonl"

    @property
    def evaluation(self) -> str:
        """A copy of the results' evaluation, as :attr:`results` is one."""
        return self.prefix + "evaluation.json"

    @property
    def shards(self) -> str:
        return self._root + "shards/"

    @property
    def parts(self) -> str:
        return self._root + "parts/"

    def shard(self, rows: RowRange) -> str:
        return f"{self.shards}{rows}.jsonl.zst"

    def part(self, rows: RowRange, token: str) -> str:
        return f"{self.parts}{rows}.{token}.jsonl.zst"

    def output(self, token: str, name: str) -> str:
        """A final object of one finalizing attempt, such as ``results.jsonl``."""
        return f"{self.prefix}out/{token}/{name}"


@dataclass(frozen=True)
class TenantNames:
    """Where everything else of a tenant lies."""

    tenant: str

    def __post_init__(self) -> None:
        check_tenant(self.tenant)

    @property
    def prefix(self) -> str:
        return f"tenants/{self.tenant}/"

    @property
    def record(self) -> str:
        """What the tenant may use; a tenant may be without."""
        return self.prefix + "tenant.json"

    @property
    def usage(self) -> str:
        """Folder of what the tenant used, an object a day."""
        return self.prefix + "usage/"

    def usage_of(self, day: date) -> str:
        return f"{self.usage}{day.isoformat()}.json"

    @property
    def audit(self) -> str:
        """Folder of who changed what, a folder a day."""
        return self.prefix + "audit/"

    @property
    def jobs(self) -> str:
        return self.prefix + "jobs/"

    def deleted(self, job_id: str) -> str:
        """Says that a job was deleted; written before anything of it goes."""
        return f"{self.prefix}deleted/{job_id}.json"

    @property
    def files(self) -> str:
        return self.prefix + "files/"

    def file_record(self, file_id: str) -> str:
        return f"{self.files}{file_id}/file.json"

    def file_content(self, file_id: str) -> str:
        return f"{self.files}{file_id}/content"

    @property
    def uploads(self) -> str:
        """Folders of uploads that are not complete yet; those to a presigned URL are named by their file."""
        return self.prefix + "uploads/"

    def upload(self, upload_id: str) -> str:
        return f"{self.uploads}{upload_id}/"

    def upload_record(self, upload_id: str) -> str:
        """Written first of an upload and removed last."""
        return self.upload(upload_id) + "upload.json"

    def upload_parts(self, upload_id: str) -> str:
        """Folder of empty objects whose names tell of the parts that arrived."""
        return self.upload(upload_id) + "parts/"

    def upload_joined(self, upload_id: str) -> str:
        """Written once the content is whole: its size and digest."""
        return self.upload(upload_id) + "joined.json"

    @property
    def keys(self) -> str:
        return self.prefix + "keys/"

    def key(self, key_id: str) -> str:
        return f"{self.keys}{key_id}.json"

    def delivery(self, delivery_id: str) -> str:
        """Written before the ledger learns that an event is to be delivered. Its id begins with that of the job or
        schedule."""
        return f"{self.prefix}webhooks/{delivery_id}.json"

    def deliveries(self, subject_id: str) -> str:
        """How the names of a job's or a schedule's deliveries begin."""
        return f"{self.prefix}webhooks/{subject_id}:"

    @property
    def schedules_deliveries(self) -> str:
        """How the names of all schedules' deliveries begin."""
        return f"{self.prefix}webhooks/schedule_"

    @property
    def schedules(self) -> str:
        return self.prefix + "schedules/"

    @property
    def models(self) -> str:
        return self.prefix + "models/"

    def model(self, name: str) -> str:
        return f"{self.models}{name}/"

    def model_version(self, name: str, version: str) -> str:
        return f"{self.model(name)}{version}/"

    def version_record(self, name: str, version: str) -> str:
        """Written last of a version's objects."""
        return self.model_version(name, version) + VERSION_RECORD

    def aliases(self, name: str) -> str:
        return self.model(name) + "aliases/"

    def alias(self, name: str, alias: str) -> str:
        """Folder of its moves."""
        return f"{self.aliases(name)}{alias}/"

    def origins(self, name: str, version: str) -> str:
        """Folder of who published a version; beside the versions, for it is none of its files."""
        return f"{self.model(name)}origins/{version}/"
