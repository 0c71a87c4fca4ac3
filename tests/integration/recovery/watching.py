"""What the API answers, asked again and again in the background."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType
from typing import Self

import httpx

from server.client_config import ClientConfig

#: Seconds between two questions.
_PAUSE = 0.05


class Watch:
    """Asks for paths that must always answer 200, and counts what comes instead.

    Args:
        client: where the API is, with a valid key.
        paths: what is asked for, in turn.
    """

    def __init__(self, client: ClientConfig, *paths: str) -> None:
        self.answers: Counter[int] = Counter()
        self.unexplained = 0  #: answers 503 that did not say when to come again
        self._client = client
        self._paths = paths
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _ask(self) -> None:
        key = {"Authorization": f"Bearer {self._client.api_key}"}
        with httpx.Client(
            base_url=self._client.url, headers=key, trust_env=False, timeout=60
        ) as http:
            while not self._done.wait(_PAUSE):
                for path in self._paths:
                    answer = http.get(path)
                    self.answers[answer.status_code] += 1
                    if answer.status_code == 503 and "Retry-After" not in answer.headers:
                        self.unexplained += 1
