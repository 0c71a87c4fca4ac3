"""Names of objects: all of a tenant's lie under its own prefix, and no name leads out of it."""

from __future__ import annotations

import pytest

from jobs.names import JobNames, TenantNames, is_model_name, is_tenant
from jobs.ranges import RowRange

ROWS, TOKEN = RowRange(0, 10), "f" * 32


def test_the_objects_of_a_job() -> None:
    names = JobNames("default", "job_x")
    found = {
        names.spec: "job.json",
        names.plan: "plan.json",
        names.cancel: "cancel.json",
        names.manifest: "manifest.json",
        names.results: "results.jsonl",
        names.errors: "errors.jsonl",
        names.shard(ROWS): f"shards/{ROWS}.jsonl.zst",
        names.part(ROWS, TOKEN): f"parts/{ROWS}.{TOKEN}.jsonl.zst",
        names.output(TOKEN, "results.jsonl"): f"out/{TOKEN}/results.jsonl",
    }
    prefix = "tenants/default/jobs/job_x/"
    assert found == {prefix + rest: rest for rest in found.values()}
    assert names.prefix == prefix == TenantNames("default").jobs + "job_x/"


def test_everything_of_a_tenant_lies_under_its_prefix() -> None:
    names = TenantNames("one")
    found = [
        names.jobs,
        names.file_record("file_x"),
        names.file_content("file_x"),
        names.upload_record("upload_x"),
        names.upload_parts("upload_x"),
        names.upload_joined("upload_x"),
        names.key("key_x"),
        names.model_version("m", "v"),
        names.alias("m", "prod"),
    ]
    assert len(set(found)) == len(found)
    assert all(name.startswith("tenants/one/") for name in found)


@pytest.mark.parametrize("value", ["default", "a", "0", "team-7", "a" * 63])
def test_tenants(value: str) -> None:
    assert is_tenant(value)


@pytest.mark.parametrize("value", ["", "A", "a/b", "..", "-a", "a_b", "a" * 64, "a\n", "é"])
def test_what_is_no_tenant(value: str) -> None:
    assert not is_tenant(value)


@pytest.mark.parametrize("value", ["a", "Model-1.5_x", "0", "a" * 96])
def test_model_names(value: str) -> None:
    assert is_model_name(value)


@pytest.mark.parametrize("value", ["", ".", "..", "a..b", "a/b", ".a", "-a", "a" * 97, "a\n", "é"])
def test_what_is_no_model_name(value: str) -> None:
    assert not is_model_name(value)
