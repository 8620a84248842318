"""Faults of workers: killed, at named points too, ended in order, stopped for a while."""

from __future__ import annotations

import itertools
import signal
import time

from broker.system import SESSION_TIMEOUT_S, wait_for
from chaos.fault import Fault
from chaos.site import WORKERS, Site

STOPPED_S = 15.0
POINTS = (
    ("before-apply:3", "after-apply:3", "after-produce:3"),
    ("before-routed:3", "after-routed:3", "before-apply:9"),
)
_TURN, _POINT = itertools.count(), itertools.count()


def killed(site: Site) -> int:
    number = next(_TURN) % WORKERS
    site.one.kill(number)
    return int(site.one.workers[number].returncode == -signal.SIGKILL)


def at_points(site: Site) -> int:
    """All three workers begin anew and die while rows flow, each at its own point."""
    points = POINTS[next(_POINT) % len(POINTS)]
    for number, point in enumerate(points):
        site.end(number)
        site.one.start(number, ready=False, PCT_CRASH_AT=point)
    wait_for("all began", lambda: all(
        site.ready(n) or site.one.workers[n].poll() is not None for n in range(WORKERS)))  # fmt: skip

    def dead() -> bool:
        if (
            site.flow.idle
        ):  # a point is passed once a unit, and how many units rows make nobody can say
            site.flow.upto(site.flow.fed + 200)
        return all(w.poll() is not None for w in site.one.workers.values())

    wait_for(f"death at {points}", dead)
    return sum(w.returncode == -signal.SIGKILL for w in site.one.workers.values())


def rolling(site: Site, **env: str) -> int:
    """All workers, one after the other, from then on with this environment."""
    ended = 0
    for number in range(WORKERS):
        ended += site.end(number) == 0
        site.one.start(number, ready=False, **env)
        wait_for("it is back", lambda n=number: site.ready(n))
    return ended


def zombie(site: Site) -> int:
    """Stopped for longer than the session timeout: others take its shards, then it goes on."""
    number = next(_TURN) % WORKERS
    own = set(site.hosted(number))
    site.one.workers[number].send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    other = (number + 1) % WORKERS
    try:
        wait_for("others have its shards", lambda: own and not any(
            s["worker"] == f"worker-{number}" for s in site.one.get("/v1/shards", other)["shards"]),
            STOPPED_S + 2 * SESSION_TIMEOUT_S)  # fmt: skip
        time.sleep(max(0.0, STOPPED_S - (time.monotonic() - stopped)))
    finally:
        site.one.workers[number].send_signal(signal.SIGCONT)
    return 1


KILL = Fault(
    "kill -9 of a worker", "its positions and its rows are one write: it goes on from there",
    "SIGKILL while rows come, at every 15 % of them", killed,
)  # fmt: skip
FAULTS = [
    Fault("kill -9 at a named point", "half a step is no step",
          "`PCT_CRASH_AT`: around the write that applies rows, after rows were produced and before "
          "that is known, around the write that counts them as routed", at_points, 3, deep=True),
    Fault("rolling restart", "nobody waits for anybody", "SIGTERM, one worker after the other, exit "
          "code 0", rolling, 3),
    Fault("zombie", "it is fenced until it has rejoined; what it writes twice counts once",
          "SIGSTOP for 15 s, its shards are taken over, SIGCONT", zombie),
]  # fmt: skip
