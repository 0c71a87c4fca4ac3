"""``s3://`` references to input, and whether a tenant may read them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from jobs.errors import InvalidRequest

#: What a name of something that is no data begins with, as Hadoop and Spark have it: ``_SUCCESS``, ``.part.crc``.
_HIDDEN = ("_", ".")


@dataclass(frozen=True)
class S3Pattern:
    """A key, a prefix (ends in ``/``) or a glob in a bucket."""

    bucket: str
    pattern: str

    @classmethod
    def parse(cls, uri: str) -> S3Pattern:
        """Parse a URI that :class:`jobs.spec.InputSpec` has accepted."""
        bucket, _, pattern = uri.removeprefix("s3://").partition("/")
        return cls(bucket, pattern)

    @property
    def listing_prefix(self) -> str | None:
        """What to list in order to find the objects, or None when the pattern is a plain key."""
        wild = min((self.pattern.find(c) for c in "*?[" if c in self.pattern), default=-1)
        if wild >= 0:
            return self.pattern[:wild]
        return self.pattern if self.pattern.endswith("/") else None

    @property
    def is_many(self) -> bool:
        """Whether it may stand for many objects: a prefix or a glob."""
        return self.listing_prefix is not None

    def matches(self, key: str) -> bool:
        """Whether the object with this key is meant. ``*`` in a glob also crosses ``/``.

        A prefix or a glob never means empty objects that stand for folders, nor what is hidden: a file or folder whose
        name begins with ``_`` or ``.``, unless the pattern itself writes such a name.
        """
        listing = self.listing_prefix
        if listing is None:
            return key == self.pattern
        if key.endswith("/") or self._hides(listing, key):
            return False
        if self.pattern.endswith("/"):
            return key.startswith(self.pattern)
        return fnmatch.fnmatchcase(key, self.pattern)

    def _hides(self, listing: str, key: str) -> bool:
        """Whether the key has a hidden name where the pattern leaves names open, which is behind ``listing``."""
        found, wanted = key[len(listing) :].split("/"), self.pattern[len(listing) :].split("/")
        if listing and not listing.endswith("/"):
            del found[0]  # its beginning is written in the pattern
        hidden = any(name.startswith(_HIDDEN) for name in found)
        return hidden and not any(name.startswith(_HIDDEN) for name in wanted)


def is_allowed_prefix(text: str) -> bool:
    """Whether this may stand in a list of prefixes that jobs may read: a bucket, and a slash behind it at least."""
    bucket, slash, _ = text.removeprefix("s3://").partition("/")
    return text.startswith("s3://") and bool(bucket and slash) and text.isprintable()


def check_allowed(uri: str, *, own_bucket: str, allowed: Iterable[str], field: str) -> None:
    """Refuse a URI outside the prefixes that were allowed, and always one in the platform's own bucket.

    Raises:
        InvalidRequest: the URI may not be used.
    """
    bucket = uri.removeprefix("s3://").partition("/")[0]
    if bucket == own_bucket or not any(uri.startswith(prefix) for prefix in allowed):
        known = ", ".join(allowed) or "none (TEXTMILL_S3_ALLOWED_PREFIXES, or the tenant's own)"
        raise InvalidRequest.of(field, f"not below an allowed s3:// prefix; allowed: {known}", uri)
