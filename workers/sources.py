"""From a job's input to a stream of rows: which objects it means, pinned by ETag, read one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, cast

from jobs.errors import JobFailure, NotFound
from jobs.intake import ReadOptions, detect, expand, read_rows, row_from_object
from jobs.intake.results import result_rows
from jobs.names import TenantNames
from jobs.plan import Source
from jobs.rows import BadRow, Row
from jobs.s3uri import S3Pattern
from jobs.settings import Settings
from jobs.spec import InputSpec
from storage.files import FileTable
from storage.objects import ObjectChanged, ObjectInfo, ObjectMissing, ObjectStore
from storage.results import NotCompleted, find_results
from storage.seekable import SeekableObject


def pin_sources(store: ObjectStore, tenant: str, spec: InputSpec) -> list[Source]:
    """The objects that hold a job's rows, as they are now. Empty for inline rows.

    Raises:
        JobFailure: there is no such object (``input_missing``), its format cannot be told (``input_format``), or it is
            of a job that has not completed (``input_not_completed``).
    """
    if spec.job is not None:
        return [_pin_results(store, tenant, spec.job)]
    if spec.file is not None:
        name = TenantNames(tenant).file_content(spec.file)
        try:
            record = FileTable(store).get(tenant, spec.file)
            info = store.stat(name)
        except (NotFound, ObjectMissing):
            raise JobFailure("input_missing", f"no file {spec.file}", field="input.file") from None
        return [_source(store.bucket, info, record.filename, spec)]
    if spec.uri is not None:
        return _pin_uri(store, spec, spec.uri)
    return []


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


def _pin_uri(store: ObjectStore, spec: InputSpec, uri: str) -> list[Source]:
    wanted = S3Pattern.parse(uri)
    bucket = store.in_bucket(wanted.bucket)
    prefix = wanted.listing_prefix
    try:
        if prefix is None:
            found = [bucket.stat(wanted.pattern)]
        else:
            found = [info for info in bucket.list(prefix) if wanted.matches(info.name)]
    except ObjectMissing:
        found = []
    if not found:
        raise JobFailure("input_missing", f"nothing lies at {uri}", field="input.uri")
    return [
        _source(wanted.bucket, info, f"s3://{wanted.bucket}/{info.name}", spec) for info in found
    ]


def _source(bucket: str, info: ObjectInfo, name: str, spec: InputSpec) -> Source:
    format_by_name, compression = detect(name)
    chosen = spec.format or format_by_name
    if chosen is None:
        raise JobFailure(
            "input_format",
            f"cannot tell the format of {name} from its name; set input.format or use an ending such as "
            ".jsonl, .csv, .tsv or .txt, each also with .gz or .zst, or .parquet",
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

    Raises:
        JobFailure: a source is gone, was changed meanwhile, or cannot be read at all.
    """
    if spec.items is not None:
        for index, item in enumerate(spec.items):
            yield row_from_object(
                item, index=index, source="items", line=index + 1, options=options
            )
        return
    index = 0
    for source in sources:
        try:
            bucket = store.in_bucket(source.bucket)
            if spec.job is not None:
                chunks = bucket.stream(source.key, etag=source.etag)
                yield from result_rows(chunks, spec, source=source.name, options=options)
                continue
            for row in _rows(bucket, source, index, settings, options):
                index = row.index + 1
                yield row
        except ObjectMissing:
            raise JobFailure(
                "input_missing", f"{source.name} was deleted while it was read"
            ) from None
        except ObjectChanged:
            raise JobFailure(
                "input_changed", f"{source.name} was changed while it was read"
            ) from None


def _rows(
    store: ObjectStore, source: Source, first_index: int, settings: Settings, options: ReadOptions
) -> Iterator[Row | BadRow]:
    if source.format == "parquet":
        # pyarrow takes a third of a second and 60 MB: only a process that reads Parquet pays for it.
        from jobs.intake.parquet import parquet_rows  # noqa: PLC0415

        return parquet_rows(
            cast(BinaryIO, SeekableObject(store, source.key, etag=source.etag, size=source.size)),
            source=source.name,
            first_index=first_index,
            options=options,
            max_expansion=settings.max_expansion,
        )
    chunks = store.stream(source.key, etag=source.etag)
    return read_rows(
        expand(chunks, source.compression, max_expansion=settings.max_expansion),
        format=source.format,
        source=source.name,
        first_index=first_index,
        options=options,
    )
