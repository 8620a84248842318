"""Faults of the broker and of the way to it."""

from __future__ import annotations

import time

from broker.system import wait_for
from chaos.fault import Fault
from chaos.site import Site

PAUSE_S = 20.0
DEAD_S = 3.0
BEHIND = 2
"""The worker that comes through the proxy."""


def killed(site: Site) -> int:
    site.broker.kill()
    time.sleep(DEAD_S)
    site.broker.start()
    return came_through(site)


def paused(site: Site) -> int:
    site.broker.pause()
    time.sleep(PAUSE_S)
    site.broker.resume()
    return came_through(site)


def came_through(site: Site) -> int:
    """Rows come through again, and nobody had to be started again for that."""
    before = site.applied()
    site.flow.upto(site.flow.fed + 2000)
    wait_for("rows come through again", lambda: site.applied() > before)
    return int(all(w.poll() is None for w in site.one.workers.values()))


def half_open(site: Site) -> int:
    """A worker whose connections are open and carry nothing any more."""
    site.end(BEHIND)
    site.one.start(BEHIND, ready=False, PCT_KAFKA__BROKER=f'"{site.broker.proxied}"')
    wait_for("it comes through the proxy", lambda: site.ready(BEHIND) and site.hosted(BEHIND))
    site.flow.upto(site.flow.fed + 2000)
    frozen = site.broker.proxy.freeze()
    wait_for("it says that it hears nothing", lambda: not site.ready(BEHIND))
    return int(frozen > 0)


FAULTS = [
    Fault("kill -9 of the broker", "workers wait for it and go on", "SIGKILL, started again after 3 s "
          "on the same log", killed),
    Fault("broker paused", "workers wait for it and go on", "SIGSTOP for 20 s", paused),
    Fault("half-open connections", "a worker that hears nothing is replaced, and comes back by itself",
          "all connections of a worker stay open and carry nothing any more; timed from when it says "
          "that it is not ready", half_open, ready_s=120),
]  # fmt: skip
