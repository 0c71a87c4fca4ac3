"""References to models, as submitters write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from jobs.errors import InvalidRequest
from jobs.names import is_model_name


class Scheme(StrEnum):
    """Where a model comes from."""

    HF = "hf"  #: the Hugging Face hub: ``hf:org/name[@revision]``
    REGISTRY = "registry"  #: this installation's registry: ``registry:name[@version|@alias]``
    S3 = "s3"  #: a folder in the object store: ``s3://bucket/prefix``
    PKG = "pkg"  #: weights shipped in an installed Python package: ``pkg:python_package``
    FILE = "file"  #: a folder on the server: ``file:/path``; off unless allowed
    SCRATCH = "scratch"  #: a new model to be trained: ``scratch:<architecture>[@preset]``


@dataclass(frozen=True)
class ModelRef:
    """A parsed model reference."""

    scheme: Scheme
    location: str  #: ``org/name``, registry name, ``bucket/prefix``, package, absolute path or architecture
    revision: str | None = (
        None  #: hub revision, registry version or alias, preset of an architecture
    )

    def __str__(self) -> str:
        separator = "://" if self.scheme is Scheme.S3 else ":"
        suffix = f"@{self.revision}" if self.revision else ""
        return f"{self.scheme}{separator}{self.location}{suffix}"

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Parse a reference. A bare ``org/name`` means ``hf:``, a bare ``name`` means ``registry:``.

        Raises:
            InvalidRequest: it has none of the known forms.
        """
        if len(text) > 512 or not text.isprintable() or not text:
            raise _invalid(text, "expected 1 to 512 printable characters")
        if text.startswith("s3://"):
            return cls._s3(text)
        scheme, colon, rest = text.partition(":")
        if not colon:
            scheme, rest = ("hf" if "/" in text else "registry"), text
        parsers = {
            "hf": cls._hf,
            "registry": cls._registry,
            "pkg": cls._pkg,
            "file": cls._file,
            "scratch": cls._scratch,
        }
        if scheme not in parsers:
            known = "hf:, registry:, s3://, pkg:, file:, scratch:"
            raise _invalid(text, f"unknown scheme {scheme!r}; known: {known}")
        return parsers[scheme](text, rest)

    @classmethod
    def _s3(cls, text: str) -> ModelRef:
        location = text.removeprefix("s3://").rstrip("/")
        bucket, _, prefix = location.partition("/")
        if not bucket or not prefix or ".." in prefix.split("/"):
            raise _invalid(text, "expected s3://bucket/prefix")
        return cls(Scheme.S3, location)

    @classmethod
    def _hf(cls, text: str, rest: str) -> ModelRef:
        name, at, revision = rest.partition("@")
        part = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
        bad_revision = at and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", revision)
        if not re.fullmatch(f"{part}/{part}", name) or bad_revision or ".." in rest:
            raise _invalid(text, "expected hf:org/name or hf:org/name@revision")
        return cls(Scheme.HF, name, revision or None)

    @classmethod
    def _registry(cls, text: str, rest: str) -> ModelRef:
        name, at, revision = rest.partition("@")
        if not is_model_name(name) or (at and not is_model_name(revision)):
            raise _invalid(text, "expected registry:name, registry:name@version or @alias")
        return cls(Scheme.REGISTRY, name, revision or None)

    @classmethod
    def _pkg(cls, text: str, rest: str) -> ModelRef:
        if not re.fullmatch(r"[A-Za-z_]\w{0,99}", rest, re.ASCII):
            raise _invalid(text, "expected pkg:python_package, a top-level package's import name")
        return cls(Scheme.PKG, rest)

    @classmethod
    def _file(cls, text: str, rest: str) -> ModelRef:
        if not rest.startswith("/") or ".." in rest.split("/"):
            raise _invalid(text, "expected file:/absolute/path without '..'")
        return cls(Scheme.FILE, rest)

    @classmethod
    def _scratch(cls, text: str, rest: str) -> ModelRef:
        name, at, preset = rest.partition("@")
        part = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
        if not re.fullmatch(part, name) or (at and not re.fullmatch(part, preset)):
            raise _invalid(text, "expected scratch:architecture or scratch:architecture@preset")
        return cls(Scheme.SCRATCH, name, preset or None)


def _invalid(text: str, reason: str) -> InvalidRequest:
    return InvalidRequest.of("model", f"not a model reference: {reason}", text)
