"""Warm copies: an owner dies for good, its disk with it."""

from __future__ import annotations

import itertools
import shutil
import time

from broker.system import wait_for
from chaos.fault import Fault
from chaos.site import WORKERS, Site
from chaos.stores import current
from chaos.workers import rolling

_TURN = itertools.count()
COPIES = {"PCT_STORE__STANDBY": "1"}


def all_level(site: Site) -> bool:
    return all(any(copy["level"] for copy in shard["standbys"]) for shard in site.shards())


def taken_over(site: Site) -> int:
    """Timed from the death until every shard of it is somebody else's, who has applied what there is."""
    rolling(site, **COPIES)
    wait_for("level copies", lambda: all_level(site), 120.0)
    victim = next(n for n in (next(_TURN) % WORKERS for _ in range(WORKERS)) if site.hosted(n))
    own = site.hosted(victim)
    stores = [current(site, shard) for shard in own]
    site.one.kill(victim)
    died = time.monotonic()
    for store in stores:
        shutil.rmtree(store)
    shutil.rmtree(site.one.folder / "workers" / f"worker-{victim}")
    wait_for("its shards are at others", lambda: not site.hosted(victim), 60.0)
    site.took(time.monotonic() - died)
    held = all(current(site, shard) not in stores for shard in own)
    site.one.start(victim, ready=False, **COPIES)
    wait_for("it is back", lambda: site.ready(victim))
    rolling(site)
    return int(held)


FAULTS = [
    Fault("owner dies with its disk, a warm copy takes over", "who has a copy owns after the session "
          "timeout and a rebalance, without reading the logs again", "workers with `store.standby = 1`; "
          "kill -9, the stores of all its shards are deleted, it stays away until others have them; "
          "timed until then", taken_over, deep=True),
]  # fmt: skip
