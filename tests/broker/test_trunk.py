"""Two levels of pipes: agents and topics of trunk nodes, their histories, a death, the covers told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from broker.deep import DEEP, end, nested, nodes, positions, routing, stores
from broker.system import System, wait_for
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from pctstream.client import Producer
from pctstream.config import to_env
from pctstream.core import life
from pctstream.core.block import Source
from pctstream.core.names import ROOT, Path, node_name, node_path, pipe_topic
from pctstream.core.routing import Routing
from pctstream.settled import wait_applied
from pctstream.verify import Verdict

SHARDS = 4
BASE, SLOW, DEADLY = 6000, 1200, 1600
"""Rows: to grow the tree, slowly while covers are asked, while a worker dies."""
LEVELS = range(4)
Covers = dict[int, list[dict[str, Any]]]


@dataclass
class Told:
    """What was seen of one system in its life; it is stopped."""

    one: System
    without_pipes: dict[str, set[str]]
    """Node -> pipes of its children that were not there when its split could be read."""
    agents: set[str] = field(default_factory=set)
    moments: list[tuple[dict[Source, int], Covers]] = field(default_factory=list)
    """While rows flowed: how far each input was, and right after it the covers."""
    victim: tuple[str, int] = ("", -1)
    """A trunk node and the worker that had it, and died."""
    verdict: Verdict | None = None
    tree: dict[str, Any] = field(default_factory=dict)
    nodes: dict[Path, dict[str, Any]] = field(default_factory=dict)
    portions: list[dict[str, Any]] = field(default_factory=list)
    covers: Covers = field(default_factory=dict)
    log: Routing = field(default_factory=Routing)


class Splits:
    """Reads `.routing` as it grows, and looks at each split whether its pipes are there."""

    def __init__(self, one: System) -> None:
        self.without: dict[str, set[str]] = {}
        self._one = one
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        given = {"bootstrap.servers": self._one.broker}
        consumer = Consumer({**given, "group.id": "t", "enable.auto.commit": False})
        consumer.assign([TopicPartition(f"{self._one.tree}.routing", 0, 0)])
        admin = AdminClient(given)
        while not self._stopping.is_set():
            for message in consumer.consume(100, 0.1):
                record = orjson.loads(message.value() or b"{}") if message.error() is None else {}
                if record.get("type") == "split":
                    there = set(admin.list_topics(timeout=10).topics)
                    pipes = {pipe_topic(self._one.tree, node_path(n)) for n in record["owners"]}
                    self.without[record["node"]] = pipes - there
        consumer.close()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


@pytest.fixture(scope="module")
def told(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """1. A tree grows. 2. Covers are asked while rows flow. 3. A worker dies while they flow. 4. Rest."""
    given = {**DEEP, "shards.count": SHARDS, "tree.cut": 2, "tree.level_idle_s": 1.0}
    one = System(broker.bootstrap, f"t{os.getpid()}-trunk", tmp_path_factory.mktemp("trunk"), given)
    splits = Splits(one)
    seen = Told(one, splits.without)
    try:
        one.start(0, 1)
        rows = nested(BASE + SLOW + DEADLY)
        one.feed(rows[:BASE])
        wait_for("a tree at rest", lambda: grown(one))
        with Producer(one.broker, one.tree) as producer:
            flow(producer, rows, BASE, BASE + SLOW, lambda: seen.moments.append(moment(one)))
            listing = list_agents(one)
            seen.victim = trunk_node(one)
            flow(producer, rows, BASE + SLOW, len(rows), lambda: dies(one, seen.victim[1]))
        one.fed = len(rows)
        one.start(seen.victim[1])
        seen.verdict = one.verify()
        wait_for("a tree at rest", lambda: grown(one))
        at_rest(seen)
        said, _ = listing.communicate(timeout=60)
        seen.agents = {word for word in said.split() if word.startswith("@N")}
    finally:
        splits.stop()
        end(one)
    yield seen


def grown(one: System) -> bool:
    wait_applied(one.cfg, one.urls)
    tree = one.get("/v1/tree")
    return bool(tree["state"] == "grown" and len(tree["levels"]) == len(LEVELS))


def flow(producer: Producer, rows: Any, first: int, last: int, act: Callable[[], Any]) -> None:
    """Forty rows, then something to do, and so on."""
    for at in range(first, last, 40):
        for i in range(at, min(at + 40, last)):
            producer.add(rows[i], id=str(i))
        producer.flush()
        act()


def moment(one: System) -> tuple[dict[Source, int], Covers]:
    return positions(one), covers(one)


def covers(one: System) -> Covers:
    return {level: one.get(f"/v1/levels/{level}/cover")["cover"] for level in LEVELS}


def trunk_node(one: System) -> tuple[str, int]:
    """The trunk node with the most rows below it, and the number of its worker."""
    node = max(one.get("/v1/nodes?level=1")["nodes"], key=lambda n: n["rows"])
    workers = {s["shard"]: s["worker"] for s in one.get("/v1/shards")["shards"]}
    return node["name"], int(workers[node["shard"]].removeprefix("worker-"))


def dies(one: System, number: int) -> None:
    if one.workers[number].poll() is None:
        one.kill(number)


def list_agents(one: System) -> subprocess.Popen[str]:
    """Faust's own command that lists the agents."""
    env = {**os.environ, **to_env(one.cfg), "PCT_DATA_DIR": str(one.folder)}
    command = [sys.executable, "-m", "faust", "-A", "pctstream.app", "agents"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def at_rest(seen: Told) -> None:
    one = seen.one
    seen.tree, seen.nodes, seen.covers = one.get("/v1/tree"), nodes(one), covers(one)
    seen.portions, seen.log = one.get("/v1/portions")["portions"], routing(one)


pytestmark = pytest.mark.timeout(240)


def test_each_trunk_node_and_portion_has_a_pipe_and_an_agent_that_took_rows(told: Told) -> None:
    trunk = [p for p in told.nodes if len(p) == 2]
    portions = [p for p in told.nodes if len(p) == 3]
    assert any(told.nodes[p]["state"] == life.SPLITTING for p in trunk)
    assert [node_path(p["portion"]) for p in told.portions] == portions
    topics = told.one.admin.list_topics(timeout=10).topics
    pipes = {pipe_topic(told.one.tree, p) for p in trunk + portions}
    assert pipes == {t for t in topics if t.startswith(f"{told.one.tree}.P0.")}
    names = {f"@N{'.'.join(map(str, p))}" for p in [ROOT, *trunk, *portions]}
    names |= {f"@N0@{shard}" for shard in range(1, told.one.cfg.shards.count)}
    assert names == told.agents
    for path in [ROOT, *trunk, *portions]:
        node = told.nodes[path]
        assert (node["lag"], node["stalled"]) == (0, None)
        if node["rows"]:
            assert node["last_progress"], "rows go only through the node's agent"


def test_the_pipes_are_there_before_anybody_can_read_of_the_split(told: Told) -> None:
    assert set(told.without_pipes) == {node_name(path) for path in told.log.splits}
    assert len(told.without_pipes) > 2
    assert not any(told.without_pipes.values())


def test_nothing_is_lost_when_the_worker_of_a_trunk_node_dies(told: Told) -> None:
    verdict = told.verdict
    print(told.victim, verdict)
    assert verdict is not None
    assert told.one.workers[told.victim[1]].returncode is not None
    assert (verdict.lost, verdict.duplicated, verdict.altered) == (0, 0, 0)
    assert verdict.applied == told.tree["rows"] == told.one.fed
    assert sum(n["held"] for n in told.nodes.values()) == told.one.fed
    assert sum(level["rows"] for level in told.tree["levels"]) == told.one.fed


def test_the_history_of_every_node(told: Told) -> None:
    """0, 1, 2, none skipped, none going back; nobody is born before the level above has closed."""
    modes = {life.COVERING: [0], life.SINK: [0], life.LEAF: [0],
             life.WAITING: [0, 1], life.SPLITTING: [0, 1, 2]}  # fmt: skip
    closed = [level["time"] for level in told.log.levels]
    assert len(closed) == len(LEVELS) - 1
    for path, node in told.nodes.items():
        history = node["history"]
        assert [entry["mode"] for entry in history] == modes[node["state"]], path
        for key in ("time", "offset", "epoch"):
            values = [entry[key] for entry in history]
            assert values == sorted(values), (path, key)
        if path != ROOT:
            assert history[0]["time"] >= closed[len(path) - 2], path
        if node["state"] == life.SPLITTING:
            assert history[2]["time"] >= closed[len(path) - 1], path
            children = [told.nodes[node_path(child)] for child in node["children"]]
            assert all(c["history"][0]["time"] >= history[1]["time"] for c in children)


def test_leaves_are_small(told: Told) -> None:
    most = told.one.cfg.tree.sink_rows
    for path, node in told.nodes.items():
        if node["state"] in (life.COVERING, life.WAITING):
            assert node["held"] <= most, path
        assert node["held"] == 0 or node["state"] != life.SPLITTING, path
    found = {node["state"] for node in told.nodes.values()}
    assert {life.SPLITTING, life.LEAF, life.COVERING} <= found
    assert life.WAITING not in found, "every level above the lowest has closed"


def leaves_of_the_stores(one: System) -> Counter[tuple[Path, Source, int]]:
    """Rows by leaf, pipe, and the offset at which the pipe's position counts them."""
    found: Counter[tuple[Path, Source, int]] = Counter()
    with stores(one) as opened:
        for store in opened:
            for portion in (node_path(name) for name in store.nodes() if name != "N0"):
                paths = [tuple(r.record["path"]) for r in store.tree_nodes(portion)]
                source = Source(pipe_topic(one.tree, portion), 0)
                for offset, _, leaf in store.placed(portion):
                    found.update((paths[n], source, offset) for n in leaf.tolist())
    return found


def distance(cover: list[dict[str, Any]], level: int, rows: Counter[Path]) -> float:
    """L1 between the weights told and the shares of a recount; a leaf above a level stands there."""
    told = {node_path(entry["node"]): entry["w"] for entry in cover}
    assert sum(told.values()) == pytest.approx(1.0, abs=1e-6)
    share: Counter[Path] = Counter()
    for path, count in rows.items():
        at = path[: level + 1]
        while at not in told and len(at) > 1:  # it had not split then
            at = at[:-1]
        share[at] += count
    total = share.total()
    return sum(abs(told.get(p, 0.0) - share[p] / total) for p in told.keys() | share.keys())


def test_the_weights_of_every_level_are_those_of_a_recount(told: Told) -> None:
    """While rows flow the recount is of the rows in the stores just before the cover was asked: the
    stores keep under which offset each row came, and the owners had told how far they were."""
    placed = leaves_of_the_stores(told.one)
    assert placed.total() == told.one.fed
    everything: Counter[Path] = Counter()
    for (path, _, _), count in placed.items():
        everything[path] += count
    for level in LEVELS:
        assert distance(told.covers[level], level, everything) <= 0.01, level
    worst, sizes = 0.0, set()
    for reached, found in told.moments:
        rows: Counter[Path] = Counter()
        for (path, source, offset), count in placed.items():
            if offset <= reached.get(source, -1):
                rows[path] += count
        sizes.add(rows.total())
        for level in LEVELS:
            worst = max(worst, distance(found[level], level, rows))
    print(f"worst L1 while streaming: {worst:.4f} at {len(sizes)} different numbers of rows")
    assert len(sizes) >= 5, "rows flowed"
    assert worst <= 0.05
