"""Who hosts what, and who keeps a copy: whatever comes and goes, warm comes first."""

from __future__ import annotations

import math
import random

from pctstream.core.hosts import Part, spread


def check(now: dict[str, Part], shards: int, copies: int) -> None:
    """Each shard has one host, and as many copies elsewhere as there may be."""
    hosts = [shard for part in now.values() for shard in part.hosts]
    assert sorted(hosts) == list(range(shards))
    kept = [shard for part in now.values() for shard in part.warm]
    assert sorted(kept) == sorted(list(range(shards)) * min(copies, len(now) - 1))
    assert all(not part.hosts & part.warm for part in now.values())


def test_those_that_begin_together_host_alike_and_keep_copies_of_each_other() -> None:
    now = spread(6, 1, {name: Part() for name in "abc"})
    check(now, 6, 1)
    assert {len(part.hosts) for part in now.values()} == {2}
    assert {len(part.warm) for part in now.values()} == {2}
    # the copies of one host lie with both others: no single one takes over all of it
    assert all(len(now[a].hosts & now[b].warm) == 1 for a in now for b in now if a != b)


def test_what_a_dead_worker_hosted_goes_where_it_is_warm() -> None:
    for workers, shards in ((2, 4), (3, 6), (4, 8), (3, 4), (5, 3)):
        now = spread(shards, 1, {f"w{i}": Part() for i in range(workers)})
        for dead in now:
            left = {name: part for name, part in now.items() if name != dead}
            after = spread(shards, 1, left)
            check(after, shards, 1)
            for name, part in after.items():
                assert part.hosts <= left[name].hosts | left[name].warm, (workers, shards, dead)


def test_one_that_comes_new_gets_copies_first_and_shards_once_they_are_level() -> None:
    alone = spread(4, 1, {"a": Part()})
    both = spread(4, 1, {**alone, "b": Part()})
    assert both["a"].hosts == {0, 1, 2, 3}
    assert both["b"] == Part(set(), {0, 1, 2, 3})
    # "b" tells which are level: what is not, is not given to it
    one = spread(4, 1, {"a": both["a"], "b": Part(set(), {2})})
    assert one["b"].hosts == {2}
    even = spread(4, 1, both)
    assert len(even["a"].hosts) == len(even["b"].hosts) == 2
    check(even, 4, 1)


def test_whatever_comes_and_goes_no_shard_is_without_a_host_nor_moved_cold() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        shards, copies = chance.randint(1, 9), chance.randint(1, 3)
        now = spread(shards, copies, {"w0": Part()})
        for step in range(12):
            before = dict(now)
            if len(before) > 1 and chance.random() < 0.4:
                del before[chance.choice(sorted(before))]
            elif chance.random() < 0.5:
                before[f"n{step}"] = Part()
            told = {
                name: Part(part.hosts, {s for s in part.warm if chance.random() < 0.8})
                for name, part in before.items()
            }
            now = spread(shards, copies, told)
            check(now, shards, copies)
            hosted = {shard for part in told.values() for shard in part.hosts}
            warm = {shard for part in told.values() for shard in part.warm}
            for name, part in now.items():
                for shard in part.hosts - told[name].hosts:
                    cold = shard not in told[name].warm
                    assert not cold or shard not in hosted | warm, (seed, step)


def test_two_that_claim_one_shard_are_told_apart() -> None:
    now = spread(2, 1, {"a": Part({0, 1}), "zombie": Part({0, 1})})
    check(now, 2, 1)


def test_copies_are_spread_over_the_workers() -> None:
    now = spread(12, 2, {f"w{i}": Part() for i in range(4)})
    check(now, 12, 2)
    again = spread(12, 2, now)
    assert again == now
    assert max(len(p.warm) for p in now.values()) <= math.ceil(24 / 4) + 1
