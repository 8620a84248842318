"""The HTTP server of a worker, in a thread of its own: it answers while the group rebalances."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import uvicorn

from pctstream.http.views import create

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker


class Server:
    """Serves a worker's views on its bind address."""

    def __init__(self, worker: Worker) -> None:
        host, _, port = worker.cfg.http.bind.rpartition(":")
        self._app = create(worker)
        settings = uvicorn.Config(
            self._app, host=host.strip("[]"), port=int(port), log_level="error",
            ssl_certfile=worker.cfg.http.cert_file, ssl_keyfile=worker.cfg.http.key_file,
            lifespan="off", access_log=False, timeout_graceful_shutdown=2,
        )  # fmt: skip
        self._server = uvicorn.Server(settings)
        self._worker = worker
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._app.state.hosts.search.warm(lambda: self._worker.ready is None)

    def stop(self) -> None:
        self._stopping = True
        self._server.should_exit = True
        self._thread.join(5.0)
        self._app.state.hosts.search.close()

    def _run(self) -> None:
        with contextlib.suppress(SystemExit):
            self._server.run()
        if not self._stopping:
            self._worker.fatal(f"cannot serve HTTP on {self._worker.cfg.http.bind}: is it taken?")
