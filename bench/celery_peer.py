"""Celery by itself: an app with one task that does nothing but say when it runs.

Run as a module it is that app's worker: ``python -m bench.celery_peer BROKER_URL``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen

from celery import Celery

from bench.stamps import write_stamp

QUEUE = "bench"
TASK = "bench.stamp"


def make_app(broker_url: str) -> Celery:
    """An app as Celery's own introduction has it: no results, else the defaults."""
    app = Celery("bench", broker=broker_url)
    app.conf.update(
        task_default_queue=QUEUE,
        task_ignore_result=True,
        broker_connection_retry_on_startup=True,
    )

    @app.task(name=TASK)
    def stamp(path: str) -> None:
        write_stamp(Path(path))

    return app


@contextmanager
def celery_worker(broker_url: str, root: Path) -> Iterator[Celery]:
    """The app, while a worker of one process serves it."""
    command = [sys.executable, "-m", "bench.celery_peer", broker_url]
    worker = Popen(command, cwd=root, stdout=DEVNULL, stderr=DEVNULL)
    try:
        yield make_app(broker_url)
    finally:
        worker.terminate()
        worker.wait(timeout=30)


def main() -> None:
    """Serve until a signal stops it."""
    worker = make_app(sys.argv[1])
    worker.worker_main(
        ["worker", "--pool=prefork", "--concurrency=1", f"--queues={QUEUE}", "--loglevel=error"]
    )


if __name__ == "__main__":
    main()
