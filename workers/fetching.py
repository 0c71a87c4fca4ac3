"""Small objects fetched before they are asked for: over a network each costs a round trip, however small it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from jobs.plan import Source
from storage.objects import ObjectStore

#: Largest object that is fetched ahead, as a whole; in bytes.
MAX_OBJECT_BYTES = 1 << 20

#: Bytes that may lie ahead of the reader, fetched or on their way.
MAX_AHEAD_BYTES = 64 << 20

#: Objects that may.
MAX_AHEAD = 256

#: Objects on their way at the same time.
THREADS = 8


def fetch_ahead(
    store: ObjectStore, sources: Sequence[Source]
) -> Generator[tuple[Source, Future[bytes] | None]]:
    """Each source in order, a small one with its bytes; a large one (None) is for the reader to stream.

    What fails is raised where its bytes are asked for, so that an object far ahead never fails the one in hand. Nothing
    is fetched any more once the iterator is closed; whoever may stop early closes it.
    """
    small = [source.size <= MAX_OBJECT_BYTES for source in sources]
    if sum(small) < 2:
        yield from ((source, None) for source in sources)
        return
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="fetch")
    waiting: deque[Future[bytes] | None] = deque()
    ahead = 0  # bytes of those waiting and of the one in hand
    try:
        for place, source in enumerate(sources):
            while (following := place + len(waiting)) < len(sources) and len(waiting) < MAX_AHEAD:
                size = sources[following].size if small[following] else 0
                if waiting and ahead + size > MAX_AHEAD_BYTES:
                    break
                fetch = pool.submit(_fetch, store, sources[following]) if small[following] else None
                waiting.append(fetch)
                ahead += size
            yield source, waiting.popleft()
            ahead -= source.size if small[place] else 0
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _fetch(store: ObjectStore, source: Source) -> bytes:
    chunks = store.in_bucket(source.bucket).stream(source.key, etag=source.etag)
    return b"".join(chunks)
