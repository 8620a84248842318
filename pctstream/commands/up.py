"""`pctstream up`: a broker if none is named, topics, and workers as child processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import httpx

from pctstream import ports, rights, topics
from pctstream.allowed import split_address
from pctstream.broker import LocalBroker
from pctstream.commands.context import common_options, configured
from pctstream.config import Config, to_env
from pctstream.core.warm import warm
from pctstream.errors import UsageError
from pctstream.reach import reach
from pctstream.trust import calling, check, url

BACK_OFF_S = (1.0, 30.0)
STEADY_S = 60.0
STOP_S = 20.0
CRASH_VARIABLES = ("PCT_CRASH_AT", "PCT_RAISE_AT", "PCT_HANG_AT")


@dataclass(slots=True)
class Child:
    """One worker process and when it may be started again."""

    name: str
    url: str
    env: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    back_off: float = BACK_OFF_S[0]
    not_before: float = 0.0
    restarts: int = field(default=0)

    def start(self) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pctstream", "worker", "--name", self.name],
            env=self.env,
            start_new_session=True,
        )
        # an injected crash is for one life, else it would come again at every start
        self.env = {k: v for k, v in self.env.items() if k not in CRASH_VARIABLES}


@click.command("up")
@common_options
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--http", default=None, help="HOST:PORT of the first worker; the others follow.")
def up_command(
    config_file: Path | None, data_dir: Path | None, workers: int, http: str | None
) -> None:
    """Run the whole system here until Ctrl-C."""
    cfg = configured(config_file, data_dir, need_broker=False, http__bind=http)
    check(cfg)
    _check_ports(cfg, workers)
    Path(cfg.store.dir).mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    broker: LocalBroker | None = None
    code = 0
    children: list[Child] = []
    try:
        if not cfg.kafka.broker:
            folder = Path(cfg.store.dir)
            broker = LocalBroker(folder / "broker", announce=folder)
            named = broker.start()
            click.echo(f"broker {named}")
            cfg = configured(config_file, data_dir, http__bind=http, kafka__broker=named)
        admin = reach(cfg, "up")
        rights.check(admin, cfg, "operator")
        topics.apply(admin, topics.static_specs(cfg))
        warm(cfg.spatial.enabled)  # else each worker would compile for itself
        children = _children(cfg, workers)
        code = _watch(cfg, children, stop)
    finally:
        _stop_all(children)
        (Path(cfg.store.dir) / "workers.json").unlink(missing_ok=True)
        if broker is not None:
            broker.stop()
    sys.exit(code)


def _check_ports(cfg: Config, workers: int) -> None:
    """Refuse to start where a worker could not listen: it would die and be started for ever."""
    host, first = split_address(cfg.http.bind)
    if first + workers > 65536:
        raise UsageError(f"http.bind {cfg.http.bind} leaves no ports for {workers} workers")
    for port in range(first, first + workers):
        if first and not ports.is_free(host, port):
            raise UsageError(
                f"port {port} of {host} is taken by {ports.holder(port)}: end it, or name others with "
                "--http HOST:PORT"
            )


def _children(cfg: Config, workers: int) -> list[Child]:
    host, _, port = cfg.http.bind.rpartition(":")
    children = []
    for i in range(workers):
        bind = f"{host}:{int(port) + i}"
        env = {**os.environ, **to_env(cfg), "PCT_HTTP__BIND": bind, "PCT_WORKER": f"worker-{i}"}
        children.append(Child(f"worker-{i}", url(cfg, bind), env))
    return children


def _watch(cfg: Config, children: list[Child], stop: threading.Event) -> int:
    """Start and restart the workers until told to stop, or one says that it must not go on."""
    announced = False
    while not stop.is_set():
        now = time.monotonic()
        for child in children:
            code = None if child.process is None else child.process.poll()
            if code in (2, 4, 5):
                click.echo(f"{child.name} ended with code {code}: stopping", err=True)
                return int(code or 0)
            if code is not None:
                steady = now - child.started > STEADY_S
                child.back_off = BACK_OFF_S[0] if steady else child.back_off
                child.not_before = now + child.back_off
                child.back_off = min(BACK_OFF_S[1], child.back_off * 2)
                child.restarts += 1
                why = f"signal {-code}" if code < 0 else f"code {code}"
                click.echo(f"{child.name} ended ({why}): starting it again", err=True)
                child.process = None
            if child.process is None and now >= child.not_before:
                child.start()
                _write(cfg, children)
        if not announced and all(_ready(cfg, c) for c in children):
            announced = True
            click.echo(f"ready {children[0].url}")
        stop.wait(0.2)
    return 0


def _ready(cfg: Config, child: Child) -> bool:
    try:
        return httpx.get(f"{child.url}/readyz", timeout=1.0, **calling(cfg)).status_code == 200
    except httpx.HTTPError:
        return False


def _write(cfg: Config, children: list[Child]) -> None:
    """For feed, status, verify and demo: where the workers are."""
    file = Path(cfg.store.dir) / "workers.json"
    known = {
        "workers": [c.url for c in children],
        "pids": [c.process.pid if c.process else None for c in children],
    }
    draft = file.with_suffix(".tmp")
    draft.write_text(json.dumps(known))
    draft.replace(file)


def _stop_all(children: list[Child]) -> None:
    running = [c.process for c in children if c.process is not None]
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
