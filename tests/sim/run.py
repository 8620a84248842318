"""One run of the simulator from its seed, and what must be true when all has come to rest."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import combinations
from typing import NamedTuple

import numpy as np
import orjson
from sim.recursion import Tree, as_stored, child_by_place, faded_of, fading_of, gone_of, recursion
from sim.rest import drain, hasten
from sim.rows import DIMENSION
from sim.worker import ROUTING
from sim.world import World

from pctstream.core import fading, ingest, life
from pctstream.core.block import Origin, Source
from pctstream.core.effects import Parcel, Send
from pctstream.core.marks import Marks
from pctstream.core.moves import DONE
from pctstream.core.names import ROOT, Path, level, node_name
from pctstream.core.portion import Portion
from pctstream.core.records import not_reopened_record
from pctstream.core.routing import Routing
from pctstream.errors import InputLost

ENOUGH, LONGEST = 8, 500
"""A run in which portions move goes on until so many faults fell upon them on two shards, or so long."""


Nodes = dict[str, dict[Origin, bytes]]


class Ended(NamedTuple):
    """How N0 ended, and each move; the faults that fell upon moves (`World.meet`); how often a portion
    came back to where it had been; how often a node re-opened and found more of its cover."""

    state: str
    moves: tuple[str, ...]
    met: Counter[tuple[str, str, str]]
    returned: int
    reopened: int
    epochs: int
    """By which N0 routed rows, one after the other."""
    taken_over: int = 0
    """Shards that a standby took over."""
    below: int = 0
    """The same of trunk nodes below it, but their first."""
    promoted: int = 0
    """Portions that became trunk nodes."""
    late: int = 0
    """Sinks that split."""
    folded: int = 0
    """Children that got no more rows."""
    above: int = 0
    """The same above the cut."""
    of_trunks: int = 0
    """Of these, children of trunk nodes below N0."""


def run(seed: int, deep: bool = False, sinking: bool = False, folding: bool = False) -> Ended:
    """Run a seed to its end. A failure names the seed."""
    try:
        return _run(seed, deep, sinking, folding)
    except Exception as error:
        raise AssertionError(f"PCT_SIM_SEED={seed} replays this: {error}") from error


def _run(seed: int, deep: bool, sinking: bool, folding: bool) -> Ended:
    world = World(seed, deep=deep, sinking=sinking, folding=folding)
    try:
        return _lived(world, seed)
    except InputLost as said:
        # the worker ends with code 5: it must be true
        assert any(world.log.low.values()), f"R1: nothing was lost, but {said}"
        return Ended("lost", (), world.met, 0, 0, 0)


def _lived(world: World, seed: int) -> Ended:
    steps = world.chance.randint(300, 900) if world.eager else world.chance.randint(60, 200)
    for _ in range(max(steps, LONGEST) if world.deep else steps):
        world.step()
        if world.deep and world.rises.random() < 0.1:
            hasten(world)
    world.encore = world.eager and bool(world.workers[0].routing.portions)
    last = world.steps + LONGEST
    while world.encore and world.strikes < ENOUGH and world.steps < last:
        world.step()
        if world.chance.random() < 0.3:
            hasten(world)
    drain(world)
    log = world.workers[0].routing
    if went := [move for move in log.moves.all() if move.stage == DONE]:
        back = {"do": "move", "portion": node_name(went[-1].portion), "to": went[-1].source}
        world.order(back)
        drain(world)
        log = world.workers[0].routing
    at_rest(world)
    world.guard.at_rest()
    same_as_without_faults(world, seed)
    moves = log.moves.all()
    done = [move for move in moves if move.stage == DONE]
    returned = sum(
        a.portion == b.portion and a.source == b.target for a, b in combinations(done, 2)
    )
    stages = tuple(move.stage for move in moves)
    records = [
        record
        for number, ledger in world.ledgers.items()
        for path in log.owned(number)
        for _, record, *_ in ledger.store.subtree(path)
    ]
    reopened = sum(len(record["runs"]) for record in records)
    folded = sum(len(record["folded"]) for record in records)
    epochs = len(log.reopened.epochs.get(ROOT, ()))
    below = sum(len(e) - 1 for path, e in log.reopened.epochs.items() if path != ROOT)
    return Ended(
        log.states.get(ROOT, "nothing"), stages, world.met, returned, reopened, epochs,
        world.guard.taken_over, below, len(log.promotions.epochs),
        sum(record.get("holds", False) for record in records), folded,
        sum(map(len, log.reopened.folded.values())),
        sum(len(gone) for path, gone in log.reopened.folded.items() if path != ROOT),
    )  # fmt: skip


def at_rest(world: World) -> None:
    """Every good row in exactly one node, unaltered; every bad one a dead letter."""
    log = world.workers[0].routing
    nodes = world.nodes()
    everywhere = [origin for rows in nodes.values() for origin in rows]
    assert len(everywhere) == len(set(everywhere)), "R7: a row in two nodes"
    assert set(everywhere) | world.rules.purged == set(world.truth.good), "R2: rows are missing"
    for rows in nodes.values():
        for origin, vector in rows.items():
            assert world.truth.good[origin] == vector, f"R7: {origin} was altered"
    assert set(world.rules.dead) == {str(o) for o in world.truth.bad}, (
        "R2: dead letters are missing"
    )
    live = {o: v for rows in world.nodes(live=True).values() for o, v in rows.items()}
    assert live == world.truth.live(world.sources), "R11: other rows are left than should be"
    routed_by_place(world, log)
    if world.seen:
        world.look_at_all(live)
    counted = world.root_rows()
    left = world.root_rows()
    assert not log.moves.unfinished, "rest: a move does not end"
    for number, ledger in world.ledgers.items():
        here = {node_name(path) for path in [ROOT, *log.owned(number)]}
        assert set(ledger.store.nodes()) <= here, "R9: a shard keeps what another one owns"
        for path in log.owned(number):
            state = ledger.store.state(path)
            if state is not None:
                rows = state["stored_rows" if "stored_rows" in state else "rows"]
                counted += rows
                left += rows - state["gone"]
            rebuilt(world, log, number, path)
    assert not log.promotions.asked, "rest: a promotion does not end"
    if log.states.get(ROOT) == life.SPLITTING:
        # what had left a portion that was promoted is counted nowhere any more
        lost = len(world.truth.good) - counted
        most = len(world.rules.purged) if log.promotions.epochs else 0
        assert 0 <= lost <= most, "R7: the counts are not the rows"
    assert left == len(world.truth.live(world.sources)), "R11: the live counts are not the rows"
    if log.states.get(ROOT) == life.SPLITTING:
        assert world.root_rows() == 0, "R2: N0 counts rows that its portions have"
        assert not nodes.get("N0"), "R2: N0 keeps rows that its portions have"
    for number in world.ledgers:
        root = next(w.shards[number].root for w in world.workers if number in w.shards)
        if root is not None and log.states[ROOT] != life.COVERING:
            assert root.position.taken == world.log.end(root.source) - 1, "R6: N0 is not at its end"
            offset, marks, _, _ = world.bases[number]
            bad, good = (
                sum(
                    o.offset > offset
                    if (o.topic, o.partition) == root.source
                    else o.topic == "theirs"
                    and o.partition % len(world.sources) == number
                    and not marks.reached(Source(o.topic, o.partition), (o.offset, o.index))
                    for o in origins
                )
                for origins in (world.truth.bad, world.truth.good)
            )
            assert root.dead_rows == bad, "R2: dead letters are not counted once"
            if log.states[ROOT] == life.SPLITTING:
                assert root.routed_rows == good, "R2: what was routed is not counted once"


def routed_by_place(world: World, log: Routing) -> None:
    """R4: every row went where its place in its input says, and every input has come to the last epoch."""
    shards = [shard for worker in world.workers for shard in worker.shards.values()]
    for path, epochs in log.reopened.epochs.items():
        inputs = world.sources if path == ROOT else [shards[0].source(path)]
        for source in inputs:
            messages = world.log.messages(source, 0, world.log.end(source))
            for origin, child in child_by_place(log, path, source, messages).items():
                found = world.rules.where.get(origin)
                gone = origin in world.rules.purged and found == path
                assert found is None or gone or found[: len(child)] == child, (
                    f"R4: {origin} is at {found}, not at {child}"
                )
        mine = [s for s in shards if path == ROOT or log.owners[path] == s.number]
        for shard in mine if len(epochs) > 1 or path in log.promotions.epochs else ():
            at = shard.nodes[path].position.epoch
            assert at == max(epochs), f"R4: {path} of shard {shard.number} is at {at}"


def rebuilt(world: World, log: Routing, number: int, path: tuple[int, ...]) -> None:
    """R0: the portion made again from its pipe alone, in one unit, is the portion."""
    shard = next(w.shards[number] for w in world.workers if number in w.shards)
    source = shard.source(path)
    end = world.log.end(source)
    if not end:
        return
    centroid = log.covers[path[:-1]].centroids[path[-1]]
    shape, budget = log.shape, log.budget(path)
    again = Portion(path, source, centroid, log.reopened.epoch_of(path), shape, budget)
    unit = ingest.decode_pipe(source, world.log.messages(source, 0, end), -1, end - 1)
    if path in log.promotions.epochs:
        (root,) = shard.store.subtree(path)
        assert root.cover is not None and root.cover.hash == log.cover_of(path).hash, "R0: another"
        assert shard.nodes[path].mode == log.states[path] == life.SPLITTING, f"R0: {path} is none"
        return
    sent = any(isinstance(e, Send) for e in again.feed(unit))
    assert not sent, f"R0: {path} sends what its pipe says on"
    if not log.above.has(path):
        assert again.state == shard.store.state(path), f"R0: {path} is not a function of its pipe"
    rows, times = np.zeros((0, DIMENSION), np.float32), np.zeros(0)
    if unit.rows is not None:
        fresh = unit.rows.keep(Marks().advance(unit.rows)).plain
        rows, times = fresh.vectors, fading.times_of(fresh)
    tree = recursion(path, rows, centroid, shape, budget, log.gates.epsilons, log.cut, times)
    if level(path) < log.cut:
        cover = log.cover_of(path) if path in log.covers else None
        assert (cover and cover.hash) == tree[path]["cover"], f"R0: the cover of {path}"
        if path in log.splits or path in log.limits:
            mode = shard.nodes[path].mode
            assert mode == log.states[path], f"R0: {path} says {mode}, was {log.states[path]}"
        if path in log.splits:
            stored = as_stored(shard.store, path)
            if len(log.reopened.epochs[path]) > 1:  # what lies beyond is said of the cover in force
                tree[path]["uncovered"] = stored[path]["uncovered"]
            assert stored == {path: tree[path]}, f"R0: the trunk node {path}"
        return
    said = {tuple(r["path"]): r["counts"]["gone"] for _, r, *_ in shard.store.subtree(path)}
    found = gone_of(shard.store, path)
    stored = as_stored(shard.store, path)
    assert folds_of(stored) == folds_of(tree), f"R0: who is folded below {path}"
    assert stored.keys() == tree.keys(), f"R0: {path} has other nodes"
    for node, entry in stored.items():
        purged = said[node] - found[node]
        assert purged == shard.store.purged(path) or node != path, f"R11: {path} purged others"
        purged -= sum(said[child] - found[child] for child in said if child[:-1] == node)
        if entry["state"] in (life.SINK, life.LEAF) or entry["holds"]:
            whole = tree[node]["held"]
            assert len(whole) - len(entry["held"]) == purged, (
                f"R11: {node} counts other rows as gone"
            )
            assert all(row in whole for row in entry["held"]), f"R7: {node} holds other rows"
            entry["held"] = whole
        elif entry["held"]:
            assert not purged, f"R0: {node} may still look at what was purged"
    assert stored == tree, f"R0: the tree of {path} is not that of its rows"
    if shape.half_life_s:
        came = fading.times_of(unit.rows.plain) if unit.rows is not None else np.zeros(0)
        faded = faded_of(shard.store, path, shape.half_life_s, came)
        assert fading_of(shard.store, path) == faded, f"R0: the weights of {path}"


def folds_of(tree: Tree) -> dict[Path, list[int]]:
    """The children of each node that get no more rows."""
    return {path: node["folded"] for path, node in tree.items() if node.get("folded")}


def _without(nodes: Nodes, rows: set[Origin]) -> Nodes:
    left = {name: {o: v for o, v in held.items() if o not in rows} for name, held in nodes.items()}
    return {name: held for name, held in left.items() if held}


def same_as_without_faults(world: World, seed: int) -> None:
    """The same input, no fault: the same cover, and the same rows in the same portions."""
    calm = World(seed, faults=False, deep=world.deep, sinking=world.sinking, folding=world.folding)
    calm.truth.good, calm.truth.bad = world.truth.good, world.truth.bad
    calm.truth.deletes, calm.truth.names = world.truth.deletes, world.truth.names
    calm.truth.expiries = world.truth.expiries
    calm.truth.by_offset.update(world.truth.by_offset)
    for source in world.sources:
        calm.log.partitions[source] = world.log.partitions[source]
    log = world.workers[0].routing
    told = log.reopened.open or log.reopened.ended or log.promotions.epochs or world.folding
    if world.hasty or told or (log.reopened.epochs.get(ROOT, {}) and world.drifting):
        for record in world.log.partitions[ROUTING]:
            calm.log.append(ROUTING, record)
        for at, path in enumerate(log.reopened.open, log.seq + 1):
            # how it ends hangs on who reads which row when
            over = not_reopened_record(path, "", at, "calm")
            calm.log.append(ROUTING, Parcel(*ROUTING, None, orjson.dumps(over), []))
    drain(calm)
    other = calm.workers[0].routing
    assert other.covers.get(ROOT) == log.covers.get(ROOT), "R0: N0 has another cover without faults"
    if log.cut > 1 and (len(world.busy) > 1 or log.gates.epsilons != other.gates.epsilons):
        # what reaches a trunk node from two partitions comes in either order, and what its level
        # covers by may have been read from fewer rows: both are recorded, neither is a rule
        return
    assert other.states == log.states, "R0: nodes are in other states without faults"
    assert other.covers == log.covers, "R0: nodes have other covers without faults"
    if not log.moves.all():
        assert other.owners == log.owners, "R9: portions have other first owners without faults"
    if any(len(epochs) > 1 for path, epochs in log.reopened.epochs.items() if path != ROOT):
        return  # where a marker lies in a pipe is recorded nowhere else
    both = world.rules.purged | calm.rules.purged
    assert _without(calm.nodes(), both) == _without(world.nodes(), both), (
        "R0: rows are in other nodes without faults"
    )
    for number, ledger in world.ledgers.items():
        for path in log.owned(number):
            if len(path) > log.cut + 1 or path in log.promotions.epochs:
                continue  # what has left by the marker is not handed down
            there = calm.ledgers[other.owners[path]].store
            state, same = ledger.store.state(path), there.state(path)
            if state is None or same is None:
                # a fence may have lain in it
                assert not any(one and one["rows"] for one in (state, same)), (
                    f"R0: {path} at {number} has rows with faults or without"
                )
                continue
            # of the broker's clock, which tells when a message came into the pipe; and offsets in it
            but = {"time": 0, "witness": None}
            assert state | but == same | but, f"R0: {path} is another without faults"


if __name__ == "__main__":
    first, count = int(sys.argv[1]), int(sys.argv[2])
    for at in range(first, first + count):
        run(at, *(kind in sys.argv for kind in ("deep", "sinking", "folding")))
