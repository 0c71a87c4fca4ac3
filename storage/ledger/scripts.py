"""Loads the ledger's Lua scripts and calls them, with Redis's faults turned into one error."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from jobs.errors import Unavailable
from jobs.settings import Settings

#: Connections of one process, and how long a caller waits for one of them, in seconds.
_MOST_CONNECTIONS, _CONNECTION_SECONDS = 50, 10

Argument = str | bytes | int | float

#: Codes of errors by which Redis says that it takes no writes for a while.
_NO_WRITES = frozenset({"OOM", "MISCONF", "READONLY", "MASTERDOWN", "NOREPLICAS"})


@contextmanager
def ledger_faults() -> Iterator[None]:
    """Turn what redis-py raises while Redis is away, full or being built into ``Unavailable``."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unavailable(f"Redis cannot be reached ({type(error).__name__})") from error
    except redis.ResponseError as error:
        # redis-py takes the codes that it knows off the message and leaves the others in it.
        code = error.status_code or str(error).partition(" ")[0]
        if code == "NOEPOCH":
            raise Unavailable("the ledger is being built; nothing was changed") from error
        if code in _NO_WRITES:
            raise Unavailable(f"Redis takes no writes now: {code}") from error
        raise


def _translated(answer: Any) -> Any:
    if not isinstance(answer, redis.RedisError) or isinstance(answer, NoScriptError):
        return answer
    try:
        with ledger_faults():
            _fail(answer)
    except (redis.RedisError, Unavailable) as error:
        return error


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def _fail(error: Exception) -> None:
    raise error


def _sources() -> dict[str, str]:
    folder = resources.files("storage.ledger") / "lua"
    common = (folder / "_common.lua").read_text("utf-8")
    sources = {}
    for file in folder.iterdir():
        if file.name.endswith(".lua") and not file.name.startswith("_"):
            # The shebang with a script's flags must stay its first line.
            shebang, _, body = file.read_text("utf-8").partition("\n")
            sources[file.name.removesuffix(".lua")] = f"{shebang}\n{common}\n{body}"
    return sources


class LedgerClient:
    """A connection pool to the ledger's Redis and its scripts."""

    def __init__(self, client: redis.Redis) -> None:
        self.redis = client
        self._scripts = {name: client.register_script(text) for name, text in _sources().items()}
        #: Connections out of the pool that :meth:`call_together` uses in turn.
        self._kept: list[Any] = []
        self._process = os.getpid()

    @classmethod
    def connect(cls, settings: Settings) -> LedgerClient:
        """The ledger that the settings name. Opens no connection yet."""
        # Bounded: a thousand requests at once must not become a thousand connections, which would stay.
        pool = redis.BlockingConnectionPool.from_url(
            settings.redis_url.get_secret_value(),
            max_connections=_MOST_CONNECTIONS,
            timeout=_CONNECTION_SECONDS,
            decode_responses=True,
            socket_timeout=5,
            socket_connect_timeout=2,
            health_check_interval=30,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=3),
        )
        return cls(redis.Redis.from_pool(pool))

    def call(self, script: str, *arguments: Argument) -> Any:
        """Run a script.

        Raises:
            Unavailable: Redis is away, full, or the ledger is not whole.
        """
        with ledger_faults():
            return self._scripts[script](args=list(arguments))

    def call_each(self, script: str, calls: Sequence[Sequence[Argument]]) -> list[Any]:
        """Run a script many times in one round trip, each run for itself; the answers in order.

        Other clients are served between two runs only as far as the server reads ahead: keep it to some hundreds.

        Raises:
            Unavailable: Redis is away, full, or the ledger is not whole; some of the runs may have happened.
        """
        with ledger_faults():
            pipe = self.redis.pipeline(transaction=False)
            for arguments in calls:
                self._scripts[script](args=list(arguments), client=pipe)
            # Raised here: an error that the pipeline raises no longer begins with Redis's code.
            answers: list[Any] = pipe.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def call_together(self, calls: Sequence[tuple[str, Sequence[Argument]]]) -> list[Any]:
        """Run different scripts in one round trip, each for itself; the answers in order.

        An error of one of them, ``Unavailable`` too, stands in the place of its answer.

        Raises:
            Unavailable: Redis is away.
        """
        answers = self._together(calls)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # A server that has just started knows none; those that it did know have run.
            for name, _ in calls:
                with ledger_faults():
                    self.redis.script_load(self._scripts[name].script)
            missed = [isinstance(one, NoScriptError) for one in answers]
            again = iter(
                self._together([call for call, miss in zip(calls, missed, strict=True) if miss])
            )
            answers = [
                next(again) if miss else answer
                for answer, miss in zip(answers, missed, strict=True)
            ]
        return answers

    def _together(self, calls: Sequence[tuple[str, Sequence[Argument]]]) -> list[Any]:
        named = [(self._scripts[name].sha, given) for name, given in calls]
        with ledger_faults():
            found = self._quickly([("EVALSHA", sha, 0, *given) for sha, given in named])
            if found is None:
                pipe = self.redis.pipeline(transaction=False)
                for sha, given in named:
                    # Not by the script's own call: the pipeline would ask each time which scripts are known.
                    pipe.evalsha(sha, 0, *given)
                found = pipe.execute(raise_on_error=False)
        return [_translated(answer) for answer in found]

    def _quickly(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any] | None:
        """The answers by a connection that is kept for this; None when it broke, and nothing is known.

        The pool looks at each connection it gives out, and a pipeline wraps each command: more work than all else that
        letting a call in takes (docs/benchmarks.md).
        """
        pool = self.redis.connection_pool
        if self._process != os.getpid():
            # Forked: these are the parent's.
            self._kept, self._process = [], os.getpid()
        connection = self._kept.pop() if self._kept else pool.get_connection()
        whole = False
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            answers = [_answer(connection) for _ in commands]
            whole = True
        except (redis.ConnectionError, redis.TimeoutError):
            return None
        finally:
            if whole:
                self._kept.append(connection)
            else:
                # Answers may still come by it, also where this thread was stopped in between.
                connection.disconnect()
                pool.release(connection)
        return answers

    def close(self) -> None:
        """Give back all connections."""
        while self._kept:
            self.redis.connection_pool.release(self._kept.pop())
        self.redis.close()
