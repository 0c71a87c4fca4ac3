"""A bare Flask route under the gunicorn settings of the API: ``python -m bench.bare_flask PORT PROCESSES``."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402
from typing import Any  # noqa: E402

from flask import Flask, Response  # noqa: E402
from gunicorn.app.base import BaseApplication  # noqa: E402

from jobs.settings import Settings  # noqa: E402
from server.roles.api import gunicorn_options  # noqa: E402

#: As long as a job of the API.
_BODY = b'{"id": "' + b"a" * 1_000 + b'"}'


class Bare(BaseApplication):
    """gunicorn with nothing behind it."""

    def load_config(self) -> None:
        settings = Settings.from_environment(
            {"TEXTMILL_PORT": sys.argv[1], "TEXTMILL_API_PROCESSES": sys.argv[2]}
        )
        # The worker class with all its care is ours: the peer runs gunicorn's own.
        options = {**gunicorn_options(settings), "worker_class": "gevent"}
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        app = Flask("bare")

        @app.get("/v1/jobs/<job_id>")
        def show(job_id: str) -> Response:  # noqa: ARG001  # part of the route
            return Response(_BODY, content_type="application/json")

        return app


if __name__ == "__main__":
    Bare().run()
