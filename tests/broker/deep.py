"""Trees of several levels: rows that make one, what its stores hold, and what they should hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import orjson
from broker.system import System, ends_of, read_all, records, wait_for
from sim.recursion import Tree, as_stored, child_by_place, recursion

from pctstream.agents.tree import settings
from pctstream.core.block import Origin, Source
from pctstream.core.names import ROOT, Path, node_name, node_path
from pctstream.core.node import Shape
from pctstream.core.routing import Routing
from pctstream.rocks import RocksKV
from pctstream.settled import wait_applied
from pctstream.store import Store
from pctstream.tables import ReadModel

DIMENSION = 4
EVER = 10**9
DEEP: dict[str, object] = {
    "tree.epsilon": 20.0, "tree.epsilon_ratio": 0.4, "tree.gap": 100, "tree.sink_rows": 600,
    "tree.kmeans_iterations": 3, "tree.max_level": 3, "limits.nodes": 4000,
    "tree.miss_limit": 0.0, "tree.sink_scans": False, "tree.level_rows": EVER,
    "tree.level_idle_s": float(EVER),
    "tree.level_timeout_s": float(EVER),
}  # fmt: skip
"""Closes a level only when all its nodes ended: each test says what else does. Trees are the same at any
cut, where no cover is looked for again."""


def nested(count: int, seed: int = 0) -> np.ndarray:
    """Clusters of clusters of clusters f32[count, 4] (the same for any seed), and a few rows anywhere."""
    places, rng = np.random.default_rng(7), np.random.default_rng(seed)
    rows = rng.normal(0, 0.25, (count, DIMENSION))
    for scale in (20.0, 5.0, 1.2):
        rows += places.normal(0, scale, (4, DIMENSION))[rng.integers(0, 4, count)]
    odd = rng.random(count) < 0.02
    rows[odd] = rng.normal(0, 25.0, (int(odd.sum()), DIMENSION))
    return rows.astype(np.float32)


def routing(one: System) -> Routing:
    """The tree's history as anybody reads it."""
    log = Routing()
    for message in records(one, "routing"):
        log.fold(orjson.loads(message.value or b"{}"), message.offset, message.time_ms / 1000.0)
    return log


def epsilons(one: System) -> dict[int, float]:
    """Of each level above the lowest, from the two numbers that were given."""
    tree = one.cfg.tree
    known, epsilon = {0: float(tree.epsilon)}, float(tree.epsilon)
    for depth in range(1, tree.max_level):
        epsilon *= float(tree.epsilon_ratio)
        known[depth] = epsilon
    return known


def oracle(one: System, rows: np.ndarray, times: np.ndarray | None = None) -> Tree:
    """The whole tree of these rows f32[n, d] in the order of the log, N0 too, by plain recursion; ``times``
    f64[n] in seconds."""
    shape = Shape.of(settings(one.cfg) | {"dimension": rows.shape[1]})
    centre, most = np.zeros(rows.shape[1], np.float32), one.cfg.limits.nodes - 1
    return recursion(ROOT, rows, centre, shape, most, epsilons(one), one.cfg.tree.cut, times)


def by_markers(one: System) -> dict[Origin, Path]:
    """R4: the child of N0 that each row fed belongs to, by the markers before it in its partition."""
    log, wanted = routing(one), dict[Origin, Path]()
    for partition, last in ends_of(one.cfg, f"{one.tree}.P0", range(one.cfg.shards.count)).items():
        source = Source(f"{one.tree}.P0", partition)
        wanted |= child_by_place(log, ROOT, source, read_all(one.cfg, source, last)[1])
    return wanted


@contextmanager
def stores(one: System) -> Iterator[list[Store]]:
    """The shards' stores; the workers must be stopped."""
    folder = one.folder / "shards"
    names = [(folder / f"{s}.current").read_text() for s in range(one.cfg.shards.count)]
    opened = [Store(RocksKV(folder / name, 1 << 20)) for name in names]
    try:
        yield opened
    finally:
        for store in opened:
            store.close()


def placed(one: System) -> dict[Origin, Path]:
    """Below which child of N0 each row in the stores lies; none lies twice."""
    found: dict[Origin, Path] = {}
    with stores(one) as opened:
        for store in opened:
            for path in (node_path(name) for name in store.nodes() if name != "N0"):
                for _, rows, _ in store.placed(path):
                    assert not found.keys() & set(rows.plain.origins()), "a row twice"
                    found |= dict.fromkeys(rows.plain.origins(), path[:2])
    return found


def stored(one: System) -> Tree:
    """Every node below N0 with its cover's hash, counts and the rows that lie at it, in order."""
    found: Tree = {}
    with stores(one) as opened:
        for store in opened:
            for path in (node_path(name) for name in store.nodes() if name != "N0"):
                part = as_stored(store, path)
                assert not found.keys() & part.keys()
                found |= part
    return found


def told_covers(one: System) -> dict[Path, set[str]]:
    """The hashes of each node's covers: in `.routing`, and all that were told on `.state`."""
    log, model = routing(one), ReadModel()
    found = {path: {cover.hash} for path, cover in log.covers.items()}
    for message in records(one, "state"):
        record = orjson.loads(message.value or b"{}")
        if record.get("kind") == "cover":
            found.setdefault(node_path(record["node"]), set()).add(record["hash"])
            model.fold(record)
    assert not model.disputed
    assert all(cover.hash in found[path] for path, cover in model.covers().items()), "all pieces"
    return found


def nodes(one: System) -> dict[Path, dict[str, Any]]:
    """Every node as the first worker alive tells of it."""
    found, cursor = [], "0"
    while cursor is not None:
        page = one.get(f"/v1/nodes?cursor={cursor}")
        found, cursor = found + page["nodes"], page["next"]
    return {node_path(n["name"]): n for n in found}


def sizes_told(one: System, levels: int) -> bool:
    """Whether `pct_cover_size` is of each of these levels what its cover has (one worker hosts all)."""
    text = httpx.get(f"{one.urls[0]}/metrics", timeout=10.0).text
    covers = [one.get(f"/v1/levels/{n}/cover")["cover"] for n in range(levels)]
    return all(
        f'pct_cover_size{{level="{n}"}} {float(len(cover))}' in text.splitlines()
        for n, cover in enumerate(covers)
    )


def states(tree: Tree) -> dict[str, str]:
    return {node_name(path): node["state"] for path, node in tree.items()}


def wait_tree(one: System, expected: Tree, within_s: float = 60.0) -> None:
    """Until all is applied, every node has come as far as it will, and none that hands down still
    holds a row that lies below it by now: a shard counts those, too."""
    wait_applied(one.cfg, one.urls)
    rows = sum(len(node["held"]) for node in expected.values())
    seen: dict[str, str] = {}

    def there() -> bool:
        nonlocal seen
        seen = states(nodes(one))
        held = sum(shard["rows"] for shard in one.get("/v1/shards")["shards"])
        return seen == states(expected) and held == rows

    try:
        wait_for("the nodes that these rows make", there, within_s)
    except AssertionError:
        print("not as expected:", sorted(seen.items() ^ states(expected).items()))
        print(one.get("/v1/tree"))
        raise


def same(found: Tree, expected: Tree) -> None:
    """Bit for bit: names, states, covers, counts, and the rows of every leaf in order."""
    assert sorted(found) == sorted(expected)
    for path, node in expected.items():
        other = {k: (found[path][k], v) for k, v in node.items() if found[path][k] != v}
        assert not other, f"{node_name(path)} has, but should have: {list(other)}"


def below_root(tree: Tree) -> Tree:
    return {path: node for path, node in tree.items() if path != ROOT}


def shape_of(tree: Tree) -> dict[tuple[int, str], int]:
    """How many nodes of each (level, state)."""
    return dict(Counter((len(path) - 1, node["state"]) for path, node in tree.items()))


def end(one: System) -> None:
    """Its workers are gone at once: what they promised to keep is in the stores."""
    for number in one.workers:
        one.kill(number)


def positions(one: System) -> dict[Source, int]:
    """How far each input is stored, told by the worker that reads it."""
    found: dict[Source, int] = {}
    for number, worker in one.workers.items():
        if worker.poll() is None:
            for shard in one.get("/v1/shards", number)["shards"]:
                if shard["worker"] == f"worker-{number}":
                    for entry in shard["inputs"]:
                        found[Source(entry["topic"], entry["partition"])] = entry["stored"]
    return found
