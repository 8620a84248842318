"""Rows go all the way: from the ingest topic to their leaf, each once, seen alike by every worker."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from broker.system import System, mixture, produce, records, wait_for

from pctstream.core.routing import Routing
from pctstream.settled import wait_applied

Make = Callable[..., System]
ROWS = 20_000


@pytest.fixture(scope="module")
def grown(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two workers, four shards, a tree of one level over a mixture; tests add rows, none is lost."""
    settings: dict[str, object] = {
        "shards.count": 4, "tree.epsilon": 8.0, "tree.gap": 500, "tree.max_level": 1,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("grown")
    one = System(broker.bootstrap, f"t{os.getpid()}-rows", folder, settings)
    one.start(0, 1)
    one.feed(mixture(ROWS))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    yield one
    one.stop()


def test_every_row_is_in_exactly_one_leaf_and_every_view_says_so(grown: System) -> None:
    verdict = grown.verify()
    assert verdict.sound
    assert verdict.ingested == verdict.applied == grown.fed
    wait_for("the view of all rows", lambda: grown.get("/v1/tree")["rows"] == grown.fed)
    portions = grown.get("/v1/tables/portions")["rows"]
    assert sum(p["rows"] for p in portions.values()) == grown.fed
    metrics = grown.get("/v1/tables/metrics")["rows"]
    assert sum(m["rows"] for m in metrics.values()) == grown.fed
    tree = grown.get("/v1/tree")
    assert [level["nodes"] for level in tree["levels"]] == [1, len(portions)]
    assert tree["levels"][0]["splitting"] == 1
    root = grown.get("/v1/nodes/N0")
    bound = root["miss_bound"]
    assert 0 < bound["p"] < 3 / grown.cfg.tree.gap, "the rows routed say more than the scan"
    assert bound["confidence"] == 0.95
    one, other = (grown.get("/v1/nodes", n)["nodes"] for n in (0, 1))
    for mine, theirs in zip(one, other, strict=True):
        for key in ("name", "rows", "state", "mode", "children", "history", "shard", "entropy"):
            assert mine[key] == theirs[key], key


def test_state_records_are_few(grown: System) -> None:
    """At most 2 x (portions + shards) a window while rows flow, and each density and score once."""
    portions = len(grown.get("/v1/portions")["portions"])
    for part in range(5):
        grown.feed(mixture(4000, seed=part + 1), [f"{part}-{i}" for i in range(4000)])
        grown.settle()
    times: dict[int, int] = {}
    seen: set[tuple[Any, ...]] = set()
    for message in records(grown, "state"):
        record = orjson.loads(message.value or b"{}")
        if record["kind"] == "cover":  # told once, when it is found
            continue
        if record["kind"] in ("density", "drift"):
            once = message.key, record["author"], record["offset"]
            assert once not in seen
            seen.add(once)
            continue
        window = int(record["time"] // 1.0)
        times[window] = times.get(window, 0) + 1
    # windows of the workers do not begin together: a second may see the edges of two
    assert np.mean(sorted(times.values())) <= 2 * (portions + 4)
    assert max(times.values()) <= 3 * (portions + 4)


def test_the_workers_metrics_add_up_to_the_tree(grown: System) -> None:
    """Whoever sums over the workers counts every row, every node and N0 once."""
    levels = grown.get("/v1/tree")["levels"]

    def told() -> Counter[str]:
        total: Counter[str] = Counter()
        for url in grown.urls:
            for line in httpx.get(f"{url}/metrics", timeout=5).text.splitlines():
                if line.startswith(
                    ("pct_nodes{", "pct_cover_size{", "pct_shard_rows{", "pct_ready")
                ):
                    name, _, value = line.rpartition(" ")
                    total[name] += float(value)
        return total

    wanted = Counter(
        {
            f'pct_nodes{{level="{at["level"]}",state="{state}"}}': at[key]
            for at in levels
            for state, key in (("covering", "covering"), ("splitting", "splitting"))
            if at[key]
        }
    )
    sizes = {f'pct_cover_size{{level="{n}"}}': len(grown.get(f"/v1/levels/{n}/cover")["cover"])
             for n in range(len(levels))}  # fmt: skip
    found = wait_for("the same", lambda: (t := told()) and all(
        t[name] == value for name, value in (wanted | Counter(sizes)).items()) and t)  # fmt: skip
    assert found["pct_ready"] == 2
    rows = sum(v for name, v in found.items() if name.startswith("pct_shard_rows"))
    assert rows == grown.get("/v1/tree")["rows"]


def test_pipes_appear_without_a_rebalance(system: Make) -> None:
    """48 child pipes while rows flow: the group's generation stays, rows arrive within 5 s.

    A portion tells of its rows every half window: a short one, or that is most of the time seen here.
    """
    one = system(shards__count=4, tree__epsilon=8.0, tree__gap=500, drift__window_s=1.0)
    one.start(0, 1)
    before = [one.get("/livez", n)["generation"] for n in (0, 1)]
    rows = mixture(12_000, dimension=16, centres=48)
    one.feed(rows)
    wait_for("48 portions", lambda: len(one.get("/v1/portions")["portions"]) == 48)
    one.feed(mixture(4000, centres=48, seed=1), [f"later-{i}" for i in range(4000)])
    one.settle()
    assert [one.get("/livez", n)["generation"] for n in (0, 1)] == before
    split = next(m for m in records(one, "routing") if b'"split"' in (m.value or b""))
    states = [orjson.loads(m.value or b"{}") for m in records(one, "state")]
    first = min(s["time"] for s in states if s["kind"] == "portion" and s["rows"])
    assert first - split.time_ms / 1000.0 <= 5.0
    assert one.verify().sound


def test_held_rows_reach_a_child_before_later_ones(grown: System) -> None:
    """The order of an ingest partition is the order in every pipe."""
    seen: dict[tuple[str, int], tuple[int, int]] = {}
    for portion in grown.get("/v1/portions")["portions"]:
        topic = f"P0.{portion['portion'].split(',')[1]}"
        for block in produced_blocks(grown, topic):
            for origin in block.origins():
                at = (origin.offset, origin.index)
                key = (topic, origin.partition)
                assert seen.get(key, (-1, -1)) < at
                seen[key] = at


def produced_blocks(one: System, kind: str) -> Iterator[Any]:
    from pctstream.core.block import decode

    for message in records(one, kind):
        yield decode(message.value or b"")


def entropy(one: System) -> float:
    return float(one.get("/v1/nodes/N0")["entropy"]["after"])


def test_partitions_that_differ_give_the_cover_of_the_whole(system: Make) -> None:
    """Each partition holds other centres; the root's entropy ratio is that of the shuffled stream."""
    rng = np.random.default_rng(3)
    places = rng.normal(0, 6, (12, 16))
    which = np.arange(16_000) % 12
    rows = (places[which] + rng.normal(0, 0.4, (16_000, 16))).astype(np.float32)
    shuffled, sorted_ = (system(shards__count=4, tree__epsilon=8.0, tree__gap=500) for _ in "12")
    for one, partition in ((shuffled, np.arange(16_000) % 4), (sorted_, which % 4)):
        one.start(0)
        produce(one, rows, partition)
        wait_for("a cover", lambda one=one: one.get("/v1/nodes/N0")["entropy"])
    assert entropy(sorted_) == pytest.approx(entropy(shuffled), rel=0.05)


def test_one_busy_partition_and_seven_idle_ones(system: Make) -> None:
    one = system(shards__count=8, tree__epsilon=8.0, tree__gap=500)
    one.start(0)
    produce(one, mixture(5000), np.full(5000, 5))
    wait_for("a cover", lambda: one.get("/v1/tree")["levels"][0]["splitting"] == 1)
    assert one.verify().applied == 5000


def test_a_config_that_contradicts_record_0_is_refused(system: Make, tmp_path: Any) -> None:
    one = system(shards__count=2, tree__epsilon=8.0, tree__gap=300)
    one.start(0)
    one.feed(mixture(2000))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.stop()
    one.start(0, ready=False, PCT_TREE__GAP="301")
    assert one.died(0) == 2
    assert "tree.gap" in one.log(0)


def test_without_the_token_nothing_is_answered(system: Make, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("a secret\n")
    one = system(shards__count=2, http__token_file=str(secret))
    one.start(0)
    url = one.urls[0]
    assert httpx.get(f"{url}/livez", timeout=5).status_code == 200
    for headers in ({}, {"Authorization": "Bearer another"}):
        assert httpx.get(f"{url}/v1/tree", headers=headers, timeout=5).status_code == 401
    right = {"Authorization": "Bearer a secret"}
    assert httpx.get(f"{url}/v1/tree", headers=right, timeout=5).status_code == 200
    wait_applied(one.cfg, one.urls)


def test_routing_reads_the_same_for_everyone(grown: System) -> None:
    log = Routing()
    told = records(grown, "routing")
    assert all(log.fold(orjson.loads(m.value or b"{}"), m.offset, 0.0) for m in told)
    tree = grown.get("/v1/tree")
    assert (log.epoch, log.dimension) == (tree["epoch"], tree["dimension"])
    owners = {p["portion"]: p["owner"] for p in grown.get("/v1/portions")["portions"]}
    assert {f"N0,{path[1]}": owner for path, owner in log.owners.items()} == owners


def test_the_tree_is_answered_while_the_other_worker_is_dead(grown: System) -> None:
    wait_for("the view of all rows", lambda: grown.get("/v1/tree", 1)["rows"] == grown.fed)
    before = grown.get("/v1/tree", 1)
    grown.kill(0)
    after = grown.get("/v1/tree", 1)
    assert {k: v for k, v in after.items() if k != "as_of"} == {
        k: v for k, v in before.items() if k != "as_of"
    }
    wait_for("the survivor hosts all shards", lambda: all(
        s["worker"] == "worker-1" for s in grown.get("/v1/shards", 1)["shards"]))  # fmt: skip
    assert grown.verify().sound
