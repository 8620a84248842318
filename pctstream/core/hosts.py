"""Which worker hosts which shard, and which others keep a warm copy of it (`store.standby`).

Decided anew whenever a worker comes or goes, from what each had before. Whoever is there keeps what it
hosts. A shard without a host goes to a worker that has a warm copy of it, however much that hosts already.
It is evened out only by shards that the receiver has warm copies of: a worker that has come new gets copies
first, and asks again when they are level (`agents.standby`), so that nobody waits for a store to be made.

>>> before = {"a": Part({0, 1}, {2, 3}), "b": Part({2, 3}, {0, 1})}
>>> spread(4, 1, {"b": before["b"]})["b"].hosts
{0, 1, 2, 3}
>>> spread(4, 0, {"a": Part(), "b": Part()})["a"]
Part(hosts={0, 2}, warm=set())
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Part:
    """Shards of one worker: those it hosts, and those it keeps warm copies of."""

    hosts: set[int] = field(default_factory=set)
    warm: set[int] = field(default_factory=set)


def spread(shards: int, copies: int, before: Mapping[str, Part]) -> dict[str, Part]:
    """Every shard to one worker, and to ``copies`` others, or as many as there are, as a warm copy."""
    now = {name: Part() for name in sorted(before)}
    for shard in range(shards):
        had = [n for n in now if shard in before[n].hosts]
        warm = [n for n in now if shard in before[n].warm]
        name = min(had[:1] or warm or now, key=lambda n: (len(now[n].hosts), n))
        now[name].hosts.add(shard)
    _even(now, before)
    copies = min(copies, len(now) - 1)
    most = math.ceil(shards * copies / len(now))
    for shard in range(shards):
        _kept(shard, copies, most, now, before)
    for shard in range(shards):
        _copied(shard, copies, now)
    return now


def _even(now: dict[str, Part], before: Mapping[str, Part]) -> None:
    """From the worker that hosts most to the one that hosts least, one by one, where that is warm."""
    while True:
        least = min(now, key=lambda n: (len(now[n].hosts), n))
        most = max(now, key=lambda n: (len(now[n].hosts), n))
        if len(now[most].hosts) - len(now[least].hosts) < 2:
            return
        warm = now[most].hosts & before[least].warm
        if not warm:
            return
        shard = min(warm)
        now[most].hosts.discard(shard)
        now[least].hosts.add(shard)


def _kept(
    shard: int, copies: int, most: int, now: dict[str, Part], before: Mapping[str, Part]
) -> None:
    """Who has a store of it keeps that, be it a host that let go; but no worker more than its part, nor
    more of one host's shards than others: who takes over after a death is to be several."""
    host = _host(shard, now)
    beside = math.ceil(len(now[host].hosts) * copies / max(1, len(now) - 1))
    had = [n for n in now if shard in before[n].hosts | before[n].warm and n != host]
    for name in had[:copies]:
        warm = now[name].warm
        if len(warm) < most and len(warm & now[host].hosts) < beside:
            warm.add(shard)


def _copied(shard: int, copies: int, now: dict[str, Part]) -> None:
    """What is lacking goes to those that keep the fewest of this host's, then the fewest of all."""
    host = _host(shard, now)
    for _ in range(copies - sum(shard in part.warm for part in now.values())):
        others = [n for n in now if n != host and shard not in now[n].warm]
        name = min(others, key=lambda n: (len(now[n].warm & now[host].hosts), len(now[n].warm), n))
        now[name].warm.add(shard)


def _host(shard: int, now: Mapping[str, Part]) -> str:
    return next(name for name in now if shard in now[name].hosts)
