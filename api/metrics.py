"""``/metrics`` for Prometheus: what this API serves, in all its processes, and what the ledger holds."""

from __future__ import annotations

import hmac
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, current_app, g, request

from api.operations import Answer, operation
from api.services import services, services_of
from jobs.errors import Forbidden, Unauthenticated, Unavailable
from jobs.states import Status
from storage.ledger import Ledger

if TYPE_CHECKING:
    from prometheus_client import Counter as PrometheusCounter
    from prometheus_client import Histogram, Metric

blueprint = Blueprint("metrics", __name__)

#: Variable that names the folder by which the processes of one API share their counters. Set before they are forked.
MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"

#: Where the counters are among the application's extensions.
_NAME = "textmill.metrics"

#: Upper ends of the buckets of answering times, in seconds.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: Headers of whoever passes on the request of somebody else.
_PASSED_ON = ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP")

#: Time after its turn after which a schedule counts as unattended, in ms.
_UNATTENDED_MS = 120_000

_MEDIA = "text/plain; version=0.0.4; charset=utf-8"


class RequestMetrics:
    """What is counted of each request. Labels never name a tenant, a job or a key."""

    def __init__(self) -> None:
        # Not before the process is forked: it reads MULTIPROCESS_DIR when it is imported.
        import prometheus_client as prometheus  # noqa: PLC0415

        self.registry = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter(
            "textmill_http_requests_total",
            "Requests that were answered.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._seconds = prometheus.Histogram(
            "textmill_http_request_seconds",
            "Seconds until an answer began; not of calls that ask to wait.",
            ["route", "method"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.waiting = prometheus.Gauge(
            "textmill_api_waiting",
            "Calls that wait for a change of a job: long polls and followers of events.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.streams = prometheus.Gauge(
            "textmill_event_streams",
            "Open streams of events.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )

        self._by_labels: dict[tuple[str, str, int], tuple[PrometheusCounter, Histogram]] = {}

    def begin(self) -> None:
        g.begun = time.perf_counter()

    def end(self, response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "unknown"
        method = request.method if request.url_rule else "unknown"
        labels = (route, method, response.status_code)
        # Finding a metric by its labels costs more than counting does; there are a few hundred in all.
        found = self._by_labels.get(labels)
        if found is None:
            found = self._by_labels[labels] = (
                self._requests.labels(route, method, str(response.status_code)),
                self._seconds.labels(route, method),
            )
        requests, seconds = found
        requests.inc()
        waited = bool(request.query_string) and "wait" in request.args
        if not waited and "begun" in g:
            seconds.observe(time.perf_counter() - g.begun)
        return response


def register(app: Flask) -> None:
    """Count the requests of this application."""
    counted = RequestMetrics()
    app.extensions[_NAME] = counted
    services_of(app).changes.moved = counted.waiting.inc
    app.before_request(counted.begin)
    app.after_request(counted.end)


def metrics_of(app: Flask) -> RequestMetrics:
    """What is counted of an application."""
    found: RequestMetrics = app.extensions[_NAME]
    return found


def forget_process(pid: int) -> None:
    """Drop what a process that has ended said of its present; what it counted stays."""
    if _shared():
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

        mark_process_dead(pid)  # type: ignore[no-untyped-call]


@blueprint.get("/metrics")
@operation(
    name="metrics",
    tag="system",
    answers={200: Answer(description="Prometheus's text.", media={_MEDIA: {"type": "string"}})},
    problems=[401, 403],
)
def metrics() -> Response:
    """Show counters and gauges for Prometheus.

    Needs the token of the server's configuration as a bearer; without such a token only the server's own host may ask.
    """
    _check_reader()
    from prometheus_client import generate_latest  # noqa: PLC0415

    return Response(generate_latest(_everything()), content_type=_MEDIA)


def _everything() -> Any:
    return _Everything(metrics_of(current_app), services().ledger)


def _check_reader() -> None:
    token = services().settings.metrics_token
    if token is not None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        expected = token.get_secret_value().encode()
        if not hmac.compare_digest(given.strip().encode(), expected) or scheme.lower() != "bearer":
            raise Unauthenticated("expected the metrics token as 'Authorization: Bearer <token>'")
        return
    passed_on = any(name in request.headers for name in _PASSED_ON)
    if passed_on or not _is_loopback(request.remote_addr or ""):
        raise Forbidden("only this host may read /metrics, unless TEXTMILL_METRICS_TOKEN is set")


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _shared() -> bool:
    return MULTIPROCESS_DIR in os.environ


class _Everything:
    """All metrics at one moment, as prometheus-client collects them."""

    def __init__(self, counted: RequestMetrics, ledger: Ledger) -> None:
        self._counted = counted
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

        if _shared():
            shared = MultiProcessCollector(CollectorRegistry())  # type: ignore[no-untyped-call]
            yield from shared.collect()  # type: ignore[no-untyped-call]
        else:
            yield from self._counted.registry.collect()
        up = GaugeMetricFamily("textmill_ledger_up", "Whether the ledger can be read.")
        try:
            found = list(self._of_ledger())
            up.add_metric([], 1)
        except Unavailable:
            found = []
            up.add_metric([], 0)
        yield up
        yield from found

    def _of_ledger(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

        census = self._ledger.jobs.census()
        jobs = GaugeMetricFamily(
            "textmill_jobs", "Jobs that have not ended, by status.", labels=["status"]
        )
        for status in Status:
            if not status.ended:
                jobs.add_metric([status.value], census.jobs.get(status, 0))
        yield jobs
        yield GaugeMetricFamily(
            "textmill_ranges_pending", "Ranges of rows that wait for a worker.", census.pending
        )
        yield GaugeMetricFamily(
            "textmill_ranges_leased", "Ranges of rows that workers have.", census.leased
        )
        workers = GaugeMetricFamily(
            "textmill_workers", "Live processes beside the API.", labels=["role", "state"]
        )
        for (role, state), count in Counter(map(_state, self._ledger.workers.live())).items():
            workers.add_metric([role, state], count)
        yield workers
        schedules = self._ledger.schedules.census(self._ledger.now() - _UNATTENDED_MS)
        yield GaugeMetricFamily(
            "textmill_schedules_waiting",
            "Schedules that fire again or whose runs are followed.",
            schedules.waiting,
        )
        yield GaugeMetricFamily(
            "textmill_schedules_late",
            "Schedules whose run has not completed when it should have.",
            schedules.late,
        )
        yield GaugeMetricFamily(
            "textmill_schedules_unattended",
            "Schedules whose turn came over two minutes ago: no scheduler looks after them.",
            schedules.unattended,
        )
        yield GaugeMetricFamily(
            "textmill_redis_memory_share",
            "Share of maxmemory in use; 0 where there is no limit.",
            self._ledger.pressure.share(),
        )


def _state(worker: Mapping[str, Any]) -> tuple[str, str]:
    fault = worker.get("fault") is not None
    return str(worker.get("role")), "faulty" if fault else "busy" if worker.get("busy") else "idle"
