"""From a job's input to a stream of rows: which objects it means, pinned by ETag, read one after the other."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, cast

from jobs.errors import JobFailure, NotFound, shorten
from jobs.intake import ReadOptions, detect, expand, read_rows, row_from_object
from jobs.intake.results import result_rows
from jobs.names import TenantNames
from jobs.plan import Skipped, Source
from jobs.rows import BadRow, Row, RowFailure
from jobs.s3uri import S3Pattern
from jobs.settings import Settings
from jobs.spec import InputSpec
from storage.files import FileTable
from storage.objects import ObjectChanged, ObjectInfo, ObjectMissing, ObjectStore
from storage.results import NotCompleted, find_results
from storage.seekable import SeekableObject
from workers.fetching import fetch_ahead

#: Names of skipped objects that are told.
_NAMES_TOLD = 5


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """What a job's input stands for at one moment."""

    sources: list[Source]  #: in the order of their keys' bytes
    skipped: Skipped | None = None


def pin_sources(
    store: ObjectStore, tenant: str, spec: InputSpec, *, most_objects: int = 1
) -> Pinned:
    """The objects that hold a job's rows, as they are now. None for inline rows.

    Raises:
        JobFailure: there is no such object (``input_missing``), its format cannot be told (``input_format``), there are
            too many (``too_many_objects``), or it is of a job that has not completed (``input_not_completed``).
    """
    if spec.job is not None:
        return Pinned(sources=[_pin_results(store, tenant, spec.job)])
    if spec.file is not None:
        name = TenantNames(tenant).file_content(spec.file)
        try:
            record = FileTable(store).get(tenant, spec.file)
            info = store.stat(name)
        except (NotFound, ObjectMissing):
            raise JobFailure("input_missing", f"no file {spec.file}", field="input.file") from None
        return Pinned(sources=[_source(store.bucket, info, record.filename, spec)])
    if spec.uri is not None:
        return _pin_uri(store, spec, spec.uri, most_objects)
    return Pinned(sources=[])


def _pin_results(store: ObjectStore, tenant: str, job_id: str) -> Source:
    try:
        info = find_results(store, tenant, job_id)
    except NotCompleted as error:
        raise JobFailure("input_not_completed", str(error), field="input.job") from None
    except ObjectMissing:
        raise JobFailure("input_missing", f"no job {job_id}", field="input.job") from None
    return Source(
        bucket=store.bucket,
        key=info.name,
        name=f"job:{job_id}",
        etag=info.etag,
        size=info.size,
        format="jsonl",
    )


def _pin_uri(store: ObjectStore, spec: InputSpec, uri: str, most_objects: int) -> Pinned:
    wanted = S3Pattern.parse(uri)
    found = _found(store.in_bucket(wanted.bucket), wanted, uri, most_objects)
    sources: list[Source] = []
    failure: JobFailure | None = None
    names: list[str] = []
    skipped = 0
    for info in found:
        name = f"s3://{wanted.bucket}/{info.name}"
        try:
            sources.append(_source(wanted.bucket, info, name, spec))
        except JobFailure as unknown:
            failure = failure or unknown
            skipped += 1
            if skipped <= _NAMES_TOLD:
                names.append(shorten(name, 200) or "")
    if failure is None:
        return Pinned(sources=sources)
    if not sources:
        raise failure
    return Pinned(sources=sources, skipped=Skipped(count=skipped, names=names))


def _found(bucket: ObjectStore, wanted: S3Pattern, uri: str, most_objects: int) -> list[ObjectInfo]:
    """The objects that a URI means, by their keys' bytes: not every store lists them in that order."""
    prefix = wanted.listing_prefix
    found = []
    try:
        if prefix is None:
            found = [bucket.stat(wanted.pattern)]
        else:
            for info in bucket.list(prefix):
                if wanted.matches(info.name):
                    found.append(info)
                if len(found) > most_objects:
                    reason = f"{uri} stands for more than {most_objects} objects"
                    raise JobFailure("too_many_objects", reason, field="input.uri")
    except ObjectMissing:
        found = []
    if not found:
        raise JobFailure("input_missing", f"nothing lies at {uri}", field="input.uri")
    return sorted(found, key=lambda info: info.name.encode())


def _source(bucket: str, info: ObjectInfo, name: str, spec: InputSpec) -> Source:
    format_by_name, compression = detect(name)
    chosen = spec.format or format_by_name
    if chosen is None:
        raise JobFailure(
            "input_format",
            f"cannot tell the format of {name} from its name; set input.format or use an ending such as "
            ".jsonl, .csv, .tsv, .txt, .md or .html, each also with .gz or .zst, or .parquet",
            field="input.format",
        )
    if chosen == "parquet" and compression is not None:
        raise JobFailure(
            "input_format",
            f"{name}: Parquet compresses its columns itself and is read from several places, so it cannot be "
            f"{compression} as a whole; store the .parquet file as it is",
            field="input",
        )
    return Source(
        bucket=bucket,
        key=info.name,
        name=name,
        etag=info.etag,
        size=info.size,
        format=chosen,
        compression=compression,
    )


def read_options(settings: Settings, spec: InputSpec, extra: frozenset[str]) -> ReadOptions:
    """How the rows of this input are to be read; ``extra`` are the fields that the kind needs."""
    return ReadOptions(
        text_field=spec.text_field,
        id_field=spec.id_field,
        keep=extra | frozenset(spec.carry),
        max_row_bytes=settings.max_row_bytes,
    )


def stream_rows(
    store: ObjectStore,
    spec: InputSpec,
    sources: list[Source],
    settings: Settings,
    options: ReadOptions,
) -> Iterator[Row | BadRow]:
    """All rows of a job's input in order, in bounded memory, numbered from 0.

    Where a prefix or a glob stands for many objects, one that cannot be read, or not to its end, is one bad row after
    those that could be read of it. That is decided by its bytes alone: reading again gives the same rows.

    Raises:
        JobFailure: a source is gone or was changed meanwhile, so that nobody can read the same again; or the only one
            cannot be read, or none of many.
    """
    if spec.items is not None:
        for index, item in enumerate(spec.items):
            yield row_from_object(
                item, index=index, source="items", line=index + 1, options=options
            )
        return
    many = spec.uri is not None and S3Pattern.parse(spec.uri).is_many
    first_failure: JobFailure | None = None
    index = unreadable = 0
    with closing(fetch_ahead(store, sources)) as ahead:
        for source, fetched in ahead:
            line = 0
            try:
                rows = (
                    _rows(
                        store,
                        source,
                        fetched,
                        first_index=index,
                        settings=settings,
                        options=options,
                    )
                    if spec.job is None
                    else _results(store, source, spec, options)
                )
                for row in rows:
                    index, line = row.index + 1, row.line
                    yield row
            except ObjectMissing:
                raise JobFailure(
                    "input_missing", f"{source.name} was deleted while it was read"
                ) from None
            except ObjectChanged:
                raise JobFailure(
                    "input_changed", f"{source.name} was changed while it was read"
                ) from None
            except JobFailure as failure:
                if not many:
                    raise
                first_failure = first_failure or failure
                unreadable += 1
                reason = RowFailure(failure.failure_code, failure.detail)
                yield BadRow(index, reason, source.name, line + 1)
                index += 1
    if first_failure is not None and index == unreadable:
        raise first_failure


def _results(
    store: ObjectStore, source: Source, spec: InputSpec, options: ReadOptions
) -> Iterator[Row | BadRow]:
    """The rows that another job's results are."""
    chunks = store.in_bucket(source.bucket).stream(source.key, etag=source.etag)
    return result_rows(chunks, spec, source=source.name, options=options)


def _rows(
    store: ObjectStore,
    source: Source,
    fetched: Future[bytes] | None,
    *,
    first_index: int,
    settings: Settings,
    options: ReadOptions,
) -> Iterator[Row | BadRow]:
    """The rows of one source, from what was fetched of it already or else from the store."""
    bucket = store.in_bucket(source.bucket)
    data = None if fetched is None else fetched.result()
    if source.format == "parquet":
        # pyarrow takes a third of a second and 60 MB: only a process that reads Parquet pays for it.
        from jobs.intake.parquet import parquet_rows  # noqa: PLC0415

        file = (
            SeekableObject(bucket, source.key, etag=source.etag, size=source.size)
            if data is None
            else io.BytesIO(data)
        )
        return parquet_rows(
            cast(BinaryIO, file),
            source=source.name,
            first_index=first_index,
            options=options,
            max_expansion=settings.max_expansion,
        )
    chunks = bucket.stream(source.key, etag=source.etag) if data is None else [data]
    return read_rows(
        expand(chunks, source.compression, max_expansion=settings.max_expansion),
        format=source.format,
        source=source.name,
        first_index=first_index,
        options=options,
    )
