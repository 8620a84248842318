"""A system in a directory of its own, as a child process: `pctstream up`, and questions to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from pctstream import ports
from pctstream.errors import NotReady

READY_S = 300.0
"""The first start compiles the kernels: 25 s of a core, which a busy machine may take minutes for."""
STOP_S = 45.0
ASK_S = 2.0
FIRST_PORT = 8800


class Running:
    """Started on entering, stopped with everything it started on leaving."""

    def __init__(self, folder: Path, workers: int, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.env = dict(env)
        self.log = folder / "up.log"
        port = free_ports(workers)
        self._command = [
            *(sys.executable, "-m", "pctstream", "up", "--data-dir", str(folder)),
            *("--workers", str(workers), "--http", f"127.0.0.1:{port}"),
        ]
        self.urls = [f"http://127.0.0.1:{port + i}" for i in range(workers)]

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            # a session of its own: Ctrl-C is for us, who then stop it in order
            self._up = subprocess.Popen(
                self._command, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        pids = [*self.pids(), self._broker()]
        self._up.terminate()
        try:
            self._up.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for pid in [p for p in pids if p]:
                end(pid)
            self._up.kill()
            self._up.wait()

    def wait_ready(self, tell: Callable[[str], None]) -> None:
        """Until every worker serves; NotReady with what it said if not."""
        started = told = time.monotonic()
        while not self.log.read_text(errors="replace").count("ready http"):
            now = time.monotonic()
            if self._up.poll() is not None or now - started > READY_S:
                raise NotReady(f"the system did not start:\n{self.said()}")
            if now - told > 5.0:
                told = now
                tell(f"starting ... ({now - started:.0f} s)")
            time.sleep(0.1)

    def pids(self) -> list[int | None]:
        """Of the workers; None for one that waits to be started again."""
        known = self._known("workers.json")
        return list(known["pids"]) if known else []

    def said(self, lines: int = 20) -> str:
        """The last lines of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def ask(self, path: str, worker: int | None = None) -> Any:
        """GET from one worker, or from the first that answers; None if none does."""
        for url in self.urls if worker is None else [self.urls[worker]]:
            try:
                answer = httpx.get(f"{url}{path}", timeout=ASK_S)
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                return answer.json()
        return None

    def shards(self) -> dict[int, dict[str, Any]]:
        """The latest record of every shard: a worker knows its own ones as they are now."""
        latest: dict[int, dict[str, Any]] = {}
        for worker in range(len(self.urls)):
            for shard in (self.ask("/v1/shards", worker) or {"shards": []})["shards"]:
                known = latest.get(shard["shard"])
                if known is None or shard["time"] > known["time"]:
                    latest[shard["shard"]] = shard
        return latest

    def _broker(self) -> int | None:
        known = self._known("broker.json")
        return int(known["pid"]) if known else None

    def _known(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return None


def end(pid: int) -> None:
    """kill -9."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def free_ports(count: int) -> int:
    """The first of ``count`` ports in a row that nobody listens on."""
    first = ports.in_a_row(count, range(FIRST_PORT, FIRST_PORT + 1000, count))
    if first is None:
        raise NotReady(f"no {count} free ports from {FIRST_PORT} on")
    return first
