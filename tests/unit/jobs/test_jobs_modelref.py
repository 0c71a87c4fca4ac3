"""References to models: the good ones, and hostile ones."""

from __future__ import annotations

import pytest

from jobs.errors import InvalidRequest
from jobs.modelref import ModelRef, Scheme


@pytest.mark.parametrize(
    ("text", "scheme", "location", "revision", "canonical"),
    [
        ("hf:org/name", Scheme.HF, "org/name", None, None),
        ("hf:org/name@main", Scheme.HF, "org/name", "main", None),
        ("hf:org/name@refs/pr/1", Scheme.HF, "org/name", "refs/pr/1", None),
        ("org/name", Scheme.HF, "org/name", None, "hf:org/name"),
        ("org/name@v1.0", Scheme.HF, "org/name", "v1.0", "hf:org/name@v1.0"),
        ("registry:tickets", Scheme.REGISTRY, "tickets", None, None),
        ("registry:tickets@prod", Scheme.REGISTRY, "tickets", "prod", None),
        ("tickets", Scheme.REGISTRY, "tickets", None, "registry:tickets"),
        ("tickets@3f2a", Scheme.REGISTRY, "tickets", "3f2a", "registry:tickets@3f2a"),
        ("s3://bucket/a/b", Scheme.S3, "bucket/a/b", None, None),
        ("s3://bucket/a/", Scheme.S3, "bucket/a", None, "s3://bucket/a"),
        ("pkg:some_package", Scheme.PKG, "some_package", None, None),
        ("file:/models/a", Scheme.FILE, "/models/a", None, None),
        ("scratch:marian", Scheme.SCRATCH, "marian", None, None),
        ("scratch:bert-like_2@tiny", Scheme.SCRATCH, "bert-like_2", "tiny", None),
    ],
)
def test_good_references(
    text: str, scheme: Scheme, location: str, revision: str | None, canonical: str | None
) -> None:
    ref = ModelRef.parse(text)
    assert ref == ModelRef(scheme, location, revision)
    assert str(ref) == (canonical or text)
    assert ModelRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x" * 513,
        "a\nb",
        "hf:org/na\x00me",
        "hf:name",
        "hf:org/name/more",
        "hf:../name",
        "hf:org/..",
        "hf:org/a..b",
        "hf:org/name@../../etc",
        "hf:org/name@-rf",
        "hf:/org/name",
        "hf:https://evil/x",
        "scratch:",
        "scratch:a/b",
        "scratch:a.b",
        "scratch:a@",
        "scratch:a@b@c",
        "scratch:a@../b",
        "registry:",
        "registry:a/b",
        "registry:..",
        "registry:a@",
        "registry:a@../b",
        "registry:a@b@c",
        ".hidden",
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3:///a",
        "s3://bucket/../other",
        "s3://bucket/a/../../b",
        "pkg:",
        "pkg:os.path",
        "pkg:a/b",
        "pkg:../a",
        "pkg:9a",
        "pkg:a\u0660",
        "file:relative",
        "file:/a/../b",
        "file:",
        "https://example.org/model",
        "ftp:x",
        "HF:org/name",
        "\N{RIGHT-TO-LEFT OVERRIDE}hf:org/name",
    ],
)
def test_hostile_references(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ModelRef.parse(text)
    (field,) = caught.value.fields
    assert field.field == "model"
    assert field.reason.startswith("not a model reference: ")
    assert field.value is None or field.value.isprintable()


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="unknown scheme 'gs'; known: hf:, registry:, s3://"):
        ModelRef.parse("gs:bucket/x")
