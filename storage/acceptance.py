"""Whether a submission can be taken for a tenant, and what its references stand for. Schedules ask it, too."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from jobs.chains import StepJob
from jobs.errors import FieldError, InvalidRequest, NotFound, TooLarge, UnknownModel
from jobs.kinds import Kind, KindRegistry
from jobs.modelref import ModelRef, Scheme
from jobs.params import parse_params
from jobs.s3uri import check_allowed
from jobs.settings import Settings
from jobs.spec import MAX_INLINE_BYTES, JobSpec, JobTemplate
from jobs.states import Status
from jobs.training import TrainingKind
from jobs.webhooks import WebhookSpec, check_target
from storage.files import FileTable
from storage.ledger import Ledger
from storage.objects import ObjectMissing, ObjectStore
from storage.registry import Registry
from storage.results import NotCompleted, find_results
from storage.tenants import allowed_prefixes


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What is known of a submission that can be taken."""

    model: dict[str, Any] | None  #: what its model reference stands for, with the version pinned
    input_bytes: int | None  #: size of its input, where that is known


class Acceptance:
    """Checks submissions against this installation."""

    def __init__(
        self, settings: Settings, kinds: KindRegistry, store: ObjectStore, ledger: Ledger
    ) -> None:
        self._settings = settings
        self._kinds = kinds
        self._ledger = ledger
        self._store = store
        self._files = FileTable(store)
        self._registry = Registry(store)

    def accept(self, tenant: str, spec: JobSpec) -> Accepted:
        """Check a submission.

        Raises:
            InvalidRequest: it names what there is not, or what the tenant may not use.
            TooLarge: its inline rows are too large.
        """
        kind = self._kinds.require(spec.kind)
        params = parse_params(kind, spec.params)
        if isinstance(kind, TrainingKind):
            self._check_files(kind.files(params), tenant)
        model = self.resolve_model(tenant, kind, spec.model)
        input_bytes = self._check_input(spec, tenant)
        self._check_ways_out(spec, tenant)
        return Accepted(model=model, input_bytes=input_bytes)

    def check_step(self, tenant: str, job: StepJob, made: Collection[str] = ()) -> None:
        """Check a job that is to follow another one, so far as can be told before that has ended.

        Args:
            tenant: whose it is.
            job: what is to be submitted.
            made: names of models that jobs before it make.

        Raises:
            InvalidRequest: as :meth:`accept`.
        """
        kind = self._kinds.require(job.kind)
        params = parse_params(kind, job.params)
        if isinstance(kind, TrainingKind):
            self._check_files(kind.files(params), tenant)
        try:
            self.resolve_model(tenant, kind, job.model)
        except UnknownModel:
            ref = ModelRef.parse(job.model or "")
            if ref.scheme is not Scheme.REGISTRY or ref.location not in made:
                raise
        self._check_ways_out(job, tenant)

    def check_webhook(self, webhook: WebhookSpec) -> None:
        """Refuse a webhook that this installation would never serve.

        Raises:
            InvalidRequest: it names ``webhook.url``.
        """
        check_target(
            webhook.url,
            allow_http=self._settings.webhook_allow_http,
            allowed=self._settings.webhook_networks,
        )

    def resolve_model(self, tenant: str, kind: Kind, text: str | None) -> dict[str, Any] | None:
        """What a submission's model reference stands for now, with the version pinned.

        Raises:
            InvalidRequest: the kind needs a model and none was given, or the other way round; or it is no reference.
            UnknownModel: there is no such model, as far as can be told without asking a hub.
        """
        if not kind.needs_model:
            if text is not None:
                raise InvalidRequest.of("model", f"kind {kind.name} takes no model", text)
            return None
        if text is None:
            raise InvalidRequest.of("model", f"kind {kind.name} needs a model")
        ref = ModelRef.parse(text)
        if ref.scheme is Scheme.SCRATCH and not isinstance(kind, TrainingKind):
            reason = f"scratch: stands for a new model, which kind {kind.name} cannot use; train it first"
            raise InvalidRequest.of("model", reason, text)
        if ref.scheme is Scheme.REGISTRY:
            try:
                owner, found = self._registry.find(tenant, ref.location, ref.revision)
            except NotFound as error:
                raise _unknown(text, error.detail) from None
            pinned = ModelRef(Scheme.REGISTRY, found.name, found.version)
            return {
                "ref": str(pinned),
                "name": found.name,
                "version": found.version,
                "owner": owner,
                "asked": text,
            }
        self._check_reachable(ref, text, tenant)
        return {"ref": str(ref), "asked": text}

    def _check_reachable(self, ref: ModelRef, text: str, tenant: str) -> None:
        if ref.scheme is Scheme.PKG:
            spec = importlib.util.find_spec(ref.location)
            if spec is None or not spec.submodule_search_locations:
                raise _unknown(text, f"no package {ref.location} is installed on the server")
        if ref.scheme is Scheme.FILE and not self._settings.allow_file_models:
            raise InvalidRequest.of("model", "file: models are off on this server", text)
        if ref.scheme is Scheme.S3:
            self._check_uri(str(ref) + "/", tenant, "model")

    def _check_input(self, spec: JobSpec, tenant: str) -> int | None:
        """Refuse an input that cannot be read; its size in bytes, where that is known."""
        given = spec.input
        if given.items is not None:
            size = len(orjson.dumps(given.items))
            if size > MAX_INLINE_BYTES:
                raise TooLarge(
                    f"input.items has {size} bytes, the limit is {MAX_INLINE_BYTES}; upload a file instead"
                )
        elif given.file is not None:
            try:
                return self._files.get(tenant, given.file).bytes
            except NotFound:
                raise InvalidRequest.of("input.file", "no such file", given.file) from None
        elif given.uri is not None:
            self._check_uri(given.uri, tenant, "input.uri")
        elif given.job is not None:
            return self._check_job(given.job, tenant)
        return None

    def _check_job(self, job_id: str, tenant: str) -> int | None:
        """Refuse results that are not there; their size in bytes, where that is known."""
        try:
            record = self._ledger.jobs.get(tenant, job_id)
        except NotFound:
            raise InvalidRequest.of("input.job", "no such job", job_id) from None
        if record.status is not Status.COMPLETED:
            reason = f"expected a job that has completed, this one is {record.status}"
            raise InvalidRequest.of("input.job", reason, job_id)
        try:
            return find_results(self._store, tenant, job_id).size
        except (ObjectMissing, NotCompleted):
            # It is being deleted, or tried again; the planner looks once more and says so.
            return None

    def _check_ways_out(self, spec: JobTemplate, tenant: str) -> None:
        """Refuse an output or a webhook that this installation would never serve."""
        if spec.output is not None:
            self._check_uri(spec.output.uri, tenant, "output.uri")
        if spec.webhook is not None:
            self.check_webhook(spec.webhook)

    def _check_files(self, files: Mapping[str, str], tenant: str) -> None:
        """Refuse a training that names files which are not there."""
        for name, file_id in files.items():
            try:
                self._files.get(tenant, file_id)
            except NotFound:
                raise InvalidRequest.of(f"params.{name}", "no such file", file_id) from None

    def _check_uri(self, uri: str, tenant: str, field: str) -> None:
        settings = self._settings
        check_allowed(
            uri,
            own_bucket=settings.s3_bucket,
            allowed=allowed_prefixes(self._ledger, tenant, settings.s3_allowed_prefixes),
            field=field,
        )


def _unknown(text: str, reason: str) -> UnknownModel:
    return UnknownModel(
        f"model: {reason}", fields=[FieldError(field="model", reason=reason, value=text)]
    )
