"""Workers that die inside moves: source, target and author, at every stage."""

from __future__ import annotations

import itertools

import httpx
from broker.system import wait_for
from broker.test_moves import at, dropped, ended, start
from chaos.fault import Fault
from chaos.site import Site

DEATHS = [
    (stage, who) for stage in ("COPYING", "SHADOWING", "VERIFYING") for who in ("source", "target")
] + [("COPYING", "author")]
_TURN = itertools.count()


def worker_of(site: Site, shard: int) -> int:
    told = next(s["worker"] for s in site.shards() if s["shard"] == shard)
    return int(told.removeprefix("worker-"))


def dies_inside(site: Site) -> int:
    stage, who = DEATHS[next(_TURN) % len(DEATHS)]
    portion = max(site.one.get("/v1/portions")["portions"], key=lambda p: p["rows"])
    source = portion["owner"]
    here = worker_of(site, source)
    target = next(s["shard"] for s in site.shards() if s["worker"] != f"worker-{here}")
    move = start(site.one, portion["portion"], target, stage)
    wait_for(stage, lambda: at(site.one, move["id"], stage))
    # whoever has partition 0 of .control has shard 0, and writes the history
    victim = worker_of(site, {"source": source, "target": target, "author": 0}[who])
    site.one.kill(victim)
    site.mend(60.0)
    httpx.post(f"{site.one.urls[0]}/v1/moves/{move['id']}/resume", timeout=15).raise_for_status()
    done = ended(site.one, move["id"], within_s=120)
    dropped(site.one, move["id"])
    return int(done["proof"]["hash_from"] == done["proof"]["hash_to"])


FAULTS = [
    Fault("kill -9 inside a move", "the move goes on; source and target are proven equal",
          "source and target at COPYING, SHADOWING and VERIFYING, and the author of the history",
          dies_inside, deep=True),
]  # fmt: skip
