"""Where the results of a completed job lie."""

from __future__ import annotations

from jobs.names import JobNames
from jobs.states import Status
from storage.objects import ObjectInfo, ObjectMissing, ObjectStore
from storage.submission import newest_retry, read_manifest


class NotCompleted(Exception):
    """The job has not ended, or not as completed; the message says so."""


def find_results(store: ObjectStore, tenant: str, job_id: str) -> ObjectInfo:
    """The object that holds a job's results, as its newest manifest names it.

    Args:
        store: holds it.
        tenant: whose job it must be.
        job_id: the job; has the form of an id.

    Raises:
        NotCompleted: the job has not completed.
        ObjectMissing: there is no such job, or its results are gone.
    """
    names = JobNames(tenant, job_id)
    if not store.exists(names.spec):
        raise ObjectMissing(names.spec)
    retry = newest_retry(store, names)
    if retry is not None:
        names = JobNames(tenant, job_id, retry.generation)
    try:
        manifest = read_manifest(store, names)
    except ObjectMissing:
        raise NotCompleted(f"job {job_id} has not ended") from None
    status = manifest["job"]["status"]
    if status != Status.COMPLETED:
        raise NotCompleted(
            f"job {job_id} is {status}; only the results of a completed job are read"
        )
    return store.stat(manifest["outputs"]["results"]["object"])
