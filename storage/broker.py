"""Celery on Redis: its configuration, and the four messages that are ever sent.

No message is trusted: each may come twice, late or never. What is to be done stands in the ledger and the store; the
sweeper sends again what is missing there.
"""

from __future__ import annotations

import structlog
from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from jobs.settings import Settings
from jobs.states import Lane, Priority
from storage.ledger import Ledger

log = structlog.get_logger(__name__)

#: Classes of model workers, by type of device.
WORKER_CLASSES = ("cpu", "cuda")

PLAN_TASK = "textmill.plan"
GATHER_TASK = "textmill.gather"
FINALIZE_TASK = "textmill.finalize"
WORK_TASK = "textmill.work"


def control_queue(lane: Lane) -> str:
    """Where planning and finalizing of a lane's jobs is asked for; no model, no device."""
    return f"control.{lane}"


def work_queue(worker_class: str, priority: Priority) -> str:
    """Where workers of a class are invited."""
    return f"work.{worker_class}.{priority}"


def work_queues(worker_class: str) -> list[str]:
    """The queues that a worker of this class listens to, in the order in which it takes from them."""
    return [work_queue(worker_class, priority) for priority in Priority]


_QUEUES = [control_queue(lane) for lane in Lane]
_QUEUES += [name for worker_class in WORKER_CLASSES for name in work_queues(worker_class)]

#: Seconds after which Redis hands an unacknowledged message out again. The shortest of all apps on a
#: broker wins, so this is the only place that sets it. Longer than any slice or planning step should take.
VISIBILITY_SECONDS = 3600


def make_celery(settings: Settings) -> Celery:
    """The Celery application, configured for tasks that may run long, twice or not at all."""
    app = Celery("textmill", broker=settings.celery_broker_url, set_as_current=True)
    app.conf.update(
        accept_content=["json"],
        broker_channel_error_retry=True,  # what a full Redis answers; a worker would end with it
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "queue_order_strategy": "priority",
        },
        enable_utc=True,
        result_backend=None,
        task_acks_late=True,
        task_create_missing_queues=False,
        task_default_queue=control_queue(Lane.BULK),
        task_ignore_result=True,
        task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1, "interval_max": 0.2},
        task_queues=[Queue(name) for name in _QUEUES],
        task_serializer="json",
        task_store_errors_even_if_ignored=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_pool_start_method="spawn",
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=120.0,  # a child that imports torch may need far more than 4 s
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_soft_shutdown_timeout=settings.drain_seconds,
        worker_enable_soft_shutdown_on_idle=False,
    )
    return app


class Broker:
    """Sends messages. A send that fails is only logged: the sweeper will send again."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def plan(self, job_id: str, lane: Lane) -> None:
        """Ask a control worker to plan a job."""
        self._send(PLAN_TASK, job_id, control_queue(lane))

    def gather(self, job_id: str, lane: Lane) -> None:
        """Ask a control worker to join what is done of a job that still runs."""
        self._send(GATHER_TASK, job_id, control_queue(lane))

    def finalize(self, job_id: str, lane: Lane) -> None:
        """Ask a control worker to finalize a job."""
        self._send(FINALIZE_TASK, job_id, control_queue(lane))

    def invite(self, slot: str, worker_class: str, priority: Priority) -> None:
        """Invite any model worker of a class to see what there is to do."""
        self._send(WORK_TASK, slot, work_queue(worker_class, priority))

    def _send(self, task: str, argument: str, queue: str) -> None:
        try:
            self._app.send_task(task, args=[argument], queue=queue)
        except (OperationalError, OSError) as error:
            log.warning("message not sent", task=task, argument=argument, error=str(error))


def invite_idle(ledger: Ledger, broker: Broker) -> None:
    """Invite idle workers as long as there is something to do for them.

    Raises:
        Unavailable: the ledger is away.
    """
    for worker_class, idle in ledger.workers.idle().items():
        for _ in range(idle):
            invitation = ledger.workers.invite(worker_class, idle)
            if invitation is None:
                break
            slot, priority = invitation
            broker.invite(slot, worker_class, priority)
