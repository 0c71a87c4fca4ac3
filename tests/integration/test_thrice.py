"""The stacks of the chaos test get every Celery message three times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import cast

import redis

from jobs.settings import Settings
from jobs.states import Lane
from storage.broker import control_queue
from tests.chaos.run import THRICE
from tests.chaos.thrice.thrice_transport import COPIES, SENT

PLAN = """
from jobs.settings import Settings
from jobs.states import Lane
from storage.broker import Broker, make_celery
Broker(make_celery(Settings())).plan("a job", Lane.BULK)
"""


def test_every_message_is_there_three_times(redis_url: str) -> None:
    """A process as the stack has them, which knows of nothing but the folder on Python's path."""
    inherited = os.environ.get("PYTHONPATH", "")
    environment = {
        "PYTHONPATH": f"{THRICE}{os.pathsep}{inherited}",
        "TEXTMILL_REDIS_URL": redis_url,
    }
    subprocess.run([sys.executable, "-c", PLAN], env=environment, check=True, timeout=60)
    settings = Settings.from_environment(environment)
    with redis.Redis.from_url(settings.celery_broker_url, decode_responses=True) as broker:
        messages = [
            json.loads(text)
            for text in cast("list[str]", broker.lrange(control_queue(Lane.BULK), 0, -1))
        ]
        assert broker.get(SENT) == "1"
    assert len(messages) == COPIES == 3
    assert len({message["headers"]["id"] for message in messages}) == 1
    assert len({message["properties"]["delivery_tag"] for message in messages}) == COPIES
    assert all(message["body"] == messages[0]["body"] for message in messages)
