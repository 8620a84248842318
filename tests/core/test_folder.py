"""Folding above the cut: whose records count, where rows go behind a marker, who is folded and when."""

from __future__ import annotations

import copy
import math
import random
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from core.rows import T0, block_of, cover_of
from core.test_fading import Timed
from core.test_folding import FOLDS, ages
from core.test_markers import children
from core.test_promotion import PIPE as TRUNK_PIPE
from core.test_reopened import CAPACITIES, fold, portion, shard
from core.test_reopening import BUDGET, drifting
from core.test_subtree import ROOT as PORTION
from hypothesis import given, settings
from hypothesis import strategies as st
from sim.recursion import child_by_place

from pctstream.core import folding, ingest
from pctstream.core.between import MARKER, marker_message
from pctstream.core.block import Source
from pctstream.core.effects import Apply, Pause, RouteHeld, Send
from pctstream.core.fading import KEPT, STEPS
from pctstream.core.folder import RETOLD_S, Folder, due
from pctstream.core.formats import FLOAT32
from pctstream.core.names import ROOT, node_name
from pctstream.core.node import Gates
from pctstream.core.promoted import Above, home
from pctstream.core.promotion import turned
from pctstream.core.records import (
    cover_records,
    folded_record,
    not_reopened_record,
    reopen_record,
    split_record,
    tree_record,
)
from pctstream.core.reopener import Mark, Reopener, Reports, missed
from pctstream.core.root import Root
from pctstream.core.routing import Routing
from pctstream.core.solver import level_cover
from pctstream.core.trunk import Trunk
from pctstream.core.unit import Message, Unit
from pctstream.http.tree import TreeView

PLACES = np.array([[0, 0], [40, 0], [0, 40], [40, 40]], np.float32)
COVER = cover_of([*PLACES.tolist(), [0, 0]], 5.0)
SETTINGS = {
    "tree": "t", "metric": "euclidean", "gap": 3, "shards": 2, "nodes": 200, "miss_limit": 0.1,
    "miss_cooldown": 2048, "sink_rows": 50, "prototypes": 20, "stop": "gap", "half_life_s": 40.0,
    "fold_share": 0.02, "max_level": 2,
}  # fmt: skip
OWNERS = {(0, i): i % 2 for i in range(4)}
Record = dict[str, Any]


def split(**other: Any) -> Routing:
    """A tree whose N0 has split into four at record 2."""
    log = Routing()
    fold(log, [tree_record(SETTINGS | other, 2, "a"), *cover_records(ROOT, COVER, 1, "a")])
    fold(log, [split_record(ROOT, COVER, OWNERS, 2, "a")])
    return log


def grow(log: Routing, rows: list[list[float]]) -> None:
    """N0 is re-opened, and these are its next children."""
    author = Reopener(SETTINGS, CAPACITIES, "b")
    fold(log, [author.begin(log, ROOT, {0: 0, 1: 0})])
    assert author.wants(log) == "rows"
    calm = [PLACES[next(i for i in range(4) if i not in gone(log))].tolist()] * 3
    author.sample(np.array(rows + calm, np.float32))
    assert author.wants(log) == "append"
    fold(log, author.records(log))
    assert author.wants(log) == "topics"
    fold(log, [author.end(log)])


def gone(log: Routing) -> list[int]:
    return sorted(log.reopened.folded.get(ROOT, {}))


def test_a_record_opens_an_epoch_without_these_children_and_keeps_everything_else() -> None:
    log = split()
    before = log.budget((0, 3)), log.room(ROOT), log.children(ROOT), log.cover_of(ROOT)
    fold(log, [folded_record(ROOT, [3, 1], 3, "b")])
    assert (log.epoch, log.reopened.epochs, gone(log)) == (3, {ROOT: {2: 4, 3: 4}}, [1, 3])
    assert [log.epochs(ROOT).gone(epoch) for epoch in (2, 3)] == [[], [1, 3]]
    assert (log.budget((0, 3)), log.room(ROOT), log.children(ROOT), log.cover_of(ROOT)) == before
    assert (log.owners, log.splits, log.reopened.generations(ROOT)) == (OWNERS, {ROOT: 2}, [4])
    assert [log.folds((0, i)) for i in range(4)] == [False, True, False, True]
    author = Reopener(SETTINGS, CAPACITIES, "b")
    assert author.unmarked(log, Reports(), 0.0) == [Mark(ROOT, 0, 3), Mark(ROOT, 1, 3)]


@pytest.mark.parametrize("children", [[], [4], [-1], [0, 1, 2], [0, 3], ["x"], 7, None])
def test_what_does_not_fit_does_not_count(children: Any) -> None:
    log = split()
    fold(log, [folded_record(ROOT, [3], 3, "b")])
    said = copy.deepcopy(log.reopened)
    fold(log, [{"seq": 4, "type": "folded", "author": "c", "node": "N0", "children": children}])
    fold(log, [folded_record((0, 1), [0], 5, "c"), folded_record((0, 9), [0], 6, "c")])
    assert (log.epoch, log.reopened, log.seq) == (3, said, 6)
    fold(log, [reopen_record(ROOT, COVER, {0: 0}, 7, "b"), folded_record(ROOT, [0], 8, "c")])
    assert (log.epoch, gone(log)) == (3, [3]), "not while more children are looked for"
    fold(log, [not_reopened_record(ROOT, "gap", 9, "b"), folded_record(ROOT, [0], 10, "c")])
    assert (log.epoch, gone(log)) == (10, [0, 3])


def test_a_re_opening_finds_again_what_lies_where_a_folded_child_is() -> None:
    log = split()
    fold(log, [folded_record(ROOT, [3, 1], 3, "b")])
    grow(log, [[40.5, 40.5], [100, 100]])
    cover = log.covers[ROOT]
    assert cover.k == 6 and cover.centroids[:4].tolist() == COVER.centroids.tolist()
    assert cover.prototypes[4:].tolist() == [[40.5, 40.5], [100, 100]]
    newest = max(log.reopened.epochs[ROOT])
    assert log.reopened.epochs[ROOT] == {2: 4, 3: 4, newest: 6}
    assert (log.reopened.generations(ROOT), log.epochs(ROOT).gone(newest)) == ([4, 2], [1, 3])
    assert log.reopened.epoch_of((0, 3)) == 2 and log.reopened.epoch_of((0, 4)) == newest
    fold(log, [folded_record(ROOT, [4], log.seq + 1, "b")])
    assert gone(log) == [1, 3, 4]


def test_where_nobody_folds_the_records_are_what_they_were() -> None:
    """To the byte, whatever the share in the settings."""
    said = []
    for share in (0.0, 0.02):
        log = split(fold_share=share)
        author = Reopener(SETTINGS, CAPACITIES, "b")
        fold(log, [author.begin(log, ROOT, {0: 0, 1: 0})])
        author.wants(log)
        author.sample(np.array([[90, 0], [0, 0], [0, 0], [0, 0]], np.float32))
        assert author._find is not None
        said.append(author.records(log))
        assert said[-1] == cover_records(ROOT, author._find.grown(), 4, "b")
    assert said[0] == said[1]
    light = told(split(), [900.0, 900.0, 900.0, 0.0])
    assert look(split(), light) == folded_record(ROOT, [3], 3, "b")
    for off in ({"fold_share": 0.0}, {"half_life_s": 0.0}):
        assert look(split(**off), light) is None


# where rows go


def uncovered(log: Routing, chance: random.Random) -> list[list[float]]:
    """Two rows, the first beyond what is left of N0's cover: else there is nothing to find."""
    kept = np.delete(log.covers[ROOT].prototypes, gone(log), axis=0)
    while True:
        rows = [[chance.uniform(-60, 100), chance.uniform(50, 100)] for _ in range(2)]
        if np.linalg.norm(kept - rows[0], axis=1).min() > 2 * COVER.epsilon:
            return rows


def history(chance: random.Random) -> list[Routing]:
    """A tree that folds and grows, as read up to each record from its split on."""
    log = split()
    logs = [copy.deepcopy(log)]
    for _ in range(chance.randint(1, 5)):
        before = log.seq
        if chance.random() < 0.7:
            k = log.covers[ROOT].k
            some = chance.sample(range(k), chance.randint(1, 2))
            fold(log, [folded_record(ROOT, some, log.seq + 1, "b")])
        elif set(gone(log)) < {0, 1, 2, 3}:
            grow(log, uncovered(log, chance))
        if log.seq > before:
            logs.append(copy.deepcopy(log))
    return logs


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_each_row_goes_where_its_place_says_however_it_comes_and_whoever_dies(seed: int) -> None:
    """R4: units of any size, markers again, late, of nothing, a `.routing` that is behind, a process that
    dies at any row, its zombie and one that reads the log from its start."""
    chance = random.Random(seed)
    logs = history(chance)
    epochs = [*logs[-1].reopened.epochs[ROOT], 1, logs[-1].seq]
    messages = []
    for offset in range(chance.randint(5, 60)):
        if chance.random() < 0.2:
            said = marker_message(chance.choice("aaaz"), ROOT, chance.choice(epochs))
            messages.append(Message(offset, None, said, pct_type=MARKER))
        else:
            row = struct.pack("<2f", chance.uniform(-20, 100), chance.uniform(-20, 100))
            messages.append(Message(offset, None, row))
    wanted = child_by_place(logs[-1], ROOT, T0, messages)
    found: dict[int, int] = {}
    lives = [
        Routed(logs, messages, chance) for _ in range(2)
    ]  # the second is a zombie, or a rebuild
    while not all(life.done for life in lives):
        for at, child in chance.choice(lives).step():
            assert found.setdefault(at, child) == child, "R4: one row, two children"
    assert found == {origin.offset: path[-1] for origin, path in wanted.items()}


class Routed:
    """N0 at one shard over the log, which dies now and then."""

    def __init__(self, logs: list[Routing], messages: list[Message], chance: random.Random) -> None:
        self._logs, self._messages, self._chance = logs, messages, chance
        self._position, self._read = None, 0
        self._begin()

    def _begin(self) -> None:
        self._root = Root(T0, 1000, self._position)
        self._know(0)

    def _know(self, more: int) -> None:
        self._read = min(self._read + more, len(self._logs) - 1)
        log = self._logs[self._read]
        self._root.learn(log.epochs(ROOT))
        if self._root.adopt(log.splits[ROOT], log.cover_of(ROOT)) == [RouteHeld()]:
            self._root.rerouted()

    @property
    def done(self) -> bool:
        return self._root.position.routed == len(self._messages) - 1

    def step(self) -> list[tuple[int, int]]:
        """What comes next is fed: (offset, child) of the rows sent."""
        taken = self._root.taken
        last = min(taken + self._chance.randint(1, 9), len(self._messages) - 1)
        if last == taken:
            return []
        some = self._messages[taken + 1 : last + 1]
        effects = self._root.feed(ingest.decode(T0, some, taken, last, 2, "euclidean"))
        sent = list(children(effects).items())
        for send in [e for e in effects if isinstance(e, Send)]:
            for apply in self._root.delivered(send.ticket):
                if isinstance(apply, Apply) and self._chance.random() < 0.5:
                    self._position = apply.position
        if any(isinstance(e, Pause) for e in effects):
            self._know(1)
        if self._chance.random() < 0.1:
            self._begin()
        return sent


def test_a_row_that_changes_leaves_the_folded_child_it_was_at() -> None:
    """R11: the pipe of a child that gets no more rows still carries what leaves it."""
    log = split()
    fold(log, [folded_record(ROOT, [3], 3, "b")])
    root = Root(T0, 1000)
    root.learn(log.epochs(ROOT))
    assert root.adopt(2, COVER) == [RouteHeld()]
    root.rerouted()

    def named(offset: int, key: bytes, value: bytes | None) -> Message:
        return Message(offset, key, value, content_type=FLOAT32)

    here = struct.pack("<2f", 40, 40)
    said = [
        named(0, b"a", here), named(1, b"b", here),
        Message(2, None, marker_message("a", ROOT, 3), pct_type=MARKER),
        named(3, b"a", here), Message(4, b"b", None),
    ]  # fmt: skip
    effects = root.feed(ingest.decode(T0, said, -1, 4, 2, "euclidean"))
    first, second = (dict(e.parcels) for e in effects if isinstance(e, Send))
    assert first.keys() == {(0, 3)} and first[0, 3].brought == 2
    leaves = second[0, 3].changes
    assert second[0, 3].brought == 0 and leaves is not None
    assert leaves.offset.tolist() == [0, 1], "both are told where they were, by origin"
    (comes,) = [block for path, block in second.items() if path != (0, 3)]
    assert comes.brought == 1


# what children say


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_a_portion_says_what_its_parent_sent_it_whatever_the_units(seed: int) -> None:
    """R0: also while rows leave, nodes split and the process dies."""
    chance = random.Random(seed)
    rows = drifting(seed, chance.randint(100, 1500))
    host = Timed(FOLDS, BUDGET)
    host.times = times = ages(seed, len(rows))
    host.through(rows, chance)
    steps = [math.floor(t * STEPS / 40.0) for t in times if t is not None]
    weight = sum(2.0 ** ((s - max(steps)) / STEPS) for s in steps if max(steps) - s < KEPT)
    found = folding.told(host.store.tree_nodes(PORTION)[0].record)
    assert found == (max(steps), pytest.approx(weight))
    state = host.node.position, host.node.state, host.node.subtree
    after = turned(PORTION, TRUNK_PIPE, *state)
    assert folding.told(after.root.record) == found, "a trunk node goes on from there"


def test_a_trunk_node_says_what_came_through_its_pipe_stored_or_routed() -> None:
    node = Trunk((0, 3), TRUNK_PIPE, np.zeros(2, np.float32), 2, FOLDS, 50, 0.0)

    def came(first: int) -> Unit:
        rows = block_of([(T0, at, 0) for at in range(first, first + 8)], PLACES[[0, 1] * 4])
        times = pa.array([float(at) for at in range(first, first + 8)], pa.float64())
        return Unit(TRUNK_PIPE, first - 1, first + 7, replace(rows, times=times))

    node.adopt(Gates(1, {}, (0.0,)))
    said = [e for e in node.feed(came(0)) if isinstance(e, Apply)]
    node.split(7, cover_of([[0, 0], [40, 0], [0, 0]], 5.0))
    node.rerouted()
    node.feed(came(8))
    said += [e for e in node.delivered(15) if isinstance(e, Apply)]
    record = [n.record for e in said for n in e.nodes if n.number == 0][-1]
    assert folding.told(record) == (1, pytest.approx(6 + 10 * 2**-0.25)), "ten seconds are a step"


# who is folded, and when


def told(log: Routing, weights: list[float], epoch: int = 0, **other: Any) -> Reports:
    """Of two partitions, and of N0's children: all as new as the others, all read to the end."""
    newest = epoch or max(log.reopened.epochs[ROOT])
    beyond, windows = other.get("beyond", 0), other.get("windows", 3)
    portions = {}
    shards = {n: shard(newest, beyond, windows, [7], 50) for n in range(2)}
    for n, one in shards.items():
        one |= {"shard": n, "worker": "w", "time": other.get("time", 0.0)}
    for i, weight in enumerate(weights):
        name = node_name((0, i))
        portions[name] = {"portion": name, "owner": i % 2, "came": [100, weight], "offset": 9}
        at = {"node": name, "stored": 9, "routed": -1, "end": 10, "shadow": False, "epoch": 2}
        shards[i % 2]["inputs"].append(at)
    return Reports(shards, portions)


def later(said: Reports, seconds: float = RETOLD_S, **other: Any) -> Reports:
    """Every shard told the same once more."""
    again = copy.deepcopy(said)
    for one in again.shards.values():
        one |= {"time": one["time"] + seconds, **other}
    return again


def look(log: Routing, said: Reports) -> Any:
    """By an author who was told so, and a while later again."""
    folder = Folder("b")
    assert folder.look(log, said) is None
    return folder.look(log, later(said))


@given(st.integers(0, 2**32))
def test_the_lightest_are_folded_together_with_what_is_missed(seed: int) -> None:
    """By the definition: ever more of the lightest, while all of them weigh less than the share."""
    chance = random.Random(seed)
    share = chance.choice([0.02, 0.1, 0.4])
    log = split(fold_share=share)
    if chance.random() < 0.5:
        fold(log, [folded_record(ROOT, chance.sample(range(4), chance.randint(1, 2)), 3, "b")])
    weights = [chance.choice([0.0, 5.0, 50.0, 900.0, 2000.0]) for _ in range(4)]
    ages_ = [chance.choice([0, 0, 1, 4, 40]) for _ in range(4)]
    said = told(log, weights, beyond=chance.choice([0, 20]), windows=chance.choice([2, 4]))
    for i, age in enumerate(ages_):
        said.portions[node_name((0, i))]["came"] = [100 - age, weights[i]]
    newest = min(ages_)
    now = [w * 0.5 ** ((age - newest) / 4) for w, age in zip(weights, ages_, strict=True)]
    passed = sum(s["root"]["witness"][0][2] * 1024 for s in said.shards.values())
    faded = sum(s["root"]["witness"][0][3] / 2 for s in said.shards.values())
    halves = sum(1024 * 0.5 ** (w + 1) for w in range(said.shards[0]["root"]["witness"][0][2]))
    wanted: list[int] = []
    left = sorted((w, i) for i, w in enumerate(now) if i not in gone(log))
    for count in range(1, len(left)):
        light = sum(w for w, _ in left[:count])
        if light < (share - faded / (2 * halves)) * sum(now):
            wanted = sorted(i for _, i in left[:count])
    if not 1024 <= sum(now) <= passed:
        wanted = []
    assert due(log, ROOT, said) == wanted
    record = look(log, said)
    assert record == (folded_record(ROOT, wanted, log.seq + 1, "b") if wanted else None)


def test_a_trunk_node_folds_by_what_its_owner_and_its_children_say_from_the_marker_on() -> None:
    path = (0, 1)
    log = split(cut=2, max_level=3)
    fold(log, [*cover_records(path, COVER, 3, "a"),
               split_record(path, COVER, {(*path, i): 0 for i in range(4)}, 4, "a")])  # fmt: skip
    said = Reports({0: shard(2, 0, 0, [], 9)}, {node_name(path): portion(4, 0, 3, 9)})
    for i, weight in enumerate([900.0, 900.0, 900.0, 0.0]):
        name = node_name((*path, i))
        said.portions[name] = {"portion": name, "owner": 0, "came": [100, weight], "offset": 9}
        at = {"node": name, "stored": 9, "routed": -1, "end": 10, "shadow": False, "epoch": 4}
        said.shards[0]["inputs"].append(at)
    said.shards[0] |= {"shard": 0, "worker": "w", "time": 0.0}
    record = look(log, said)
    assert record == folded_record(path, [3], 5, "b")
    fold(log, [record])
    assert Reopener(SETTINGS, CAPACITIES, "b").unmarked(log, said, 0.0) == [Mark(path, 0, 5)]
    assert look(log, said) is None, "its owner has not come to the marker"
    pipe = Source("t.P0.1", 0)
    node = Trunk(path, pipe, PLACES[1], 2, FOLDS, 50, 0.0)
    node.learn(log.epochs(path))
    node.adopt(Gates(2, {1: 5.0}, (0.0, 1.0)))
    node.split(4, COVER)
    node.rerouted()
    for at, child in ((0, 3), (2, 1)):
        rows = block_of([(T0, at, 0)], [[41, 39]])
        told_here = Message(at - 1, None, marker_message("a", path, 5), pct_type=MARKER)
        said_too = ingest.decode_pipe(pipe, [told_here], at - 2, at).markers if at else ()
        effects = node.feed(Unit(pipe, at - 1 - bool(at), at, rows, markers=said_too))
        assert children(effects) == {at: child}
        node.delivered(at)
    assert node.position.epoch == 5 and node.folds(5) and not node.folds(4)


def test_nobody_is_folded_on_a_guess() -> None:
    log, light = split(), [900.0, 900.0, 900.0, 0.0]
    assert due(log, ROOT, told(log, light)) == [3]
    assert due(log, ROOT, told(log, light, windows=0)) == [], "few rows say nothing"
    assert due(log, ROOT, told(log, light, epoch=1)) == [], "a marker has not been read"
    assert due(log, ROOT, told(log, [3000.0, 3000.0, 3000.0, 0.0])) == [], "it is new"
    assert due(log, ROOT, told(log, [300.0, 300.0, 300.0, 0.0])) == [], "a row from the future"
    silent = told(log, light)
    del silent.portions["N0,1"]["came"]
    assert due(log, ROOT, silent) == [], "somebody of an earlier version tells of it"
    some = told(log, light)
    assert due(log, ROOT, Reports({0: some.shards[0]}, some.portions)) == []
    fold(log, [reopen_record(ROOT, COVER, {0: 0}, 3, "b")])
    assert due(log, ROOT, told(log, light)) == []


def test_a_child_is_folded_by_all_that_was_sent_to_it() -> None:
    """Just after a split: what one shard told of its children is old, of the others everything is known."""
    log, light = split(), [900.0, 900.0, 900.0, 20.0]
    folder, first = Folder("b"), told(log, light)
    assert due(log, ROOT, first) == [3]
    assert folder.look(log, first) is None, "its shard may have told that before rows came"
    assert folder.look(log, first) is None, "that is the same report"
    assert folder.look(log, later(first, RETOLD_S / 2)) is None
    behind = later(first)
    behind.shards[1]["inputs"][-1]["end"] = 11
    assert folder.look(log, behind) is None, "a row lies in its pipe"
    behind.shards[1]["inputs"][-1]["end"] = -1
    assert folder.look(log, behind) is None, "nobody knows whether"
    read = later(told(log, [900.0, 900.0, 900.0, 700.0]))
    assert folder.look(log, read) is None, "it was not light"
    assert folder.look(log, later(first)) is None, "so it begins anew"
    elsewhere = later(first, 2 * RETOLD_S, worker="v")
    assert folder.look(log, elsewhere) is None, "another clock"
    elsewhere.shards[0]["inputs"][-1]["end"] = 99
    assert folder.look(log, later(elsewhere)) == folded_record(ROOT, [3], 3, "b"), (
        "the heavy ones may be behind"
    )
    assert Folder("b").look(log, later(first)) is None, "another author waits, too"


def test_it_is_not_folded_again_before_the_new_cover_has_shown_itself() -> None:
    log, light = split(), [900.0, 900.0, 9.0, 0.0]
    fold(log, [folded_record(ROOT, [3], 3, "b")])
    assert due(log, ROOT, told(log, light, windows=0)) == []
    assert due(log, ROOT, told(log, light)) == [2]
    grow(log, [[90, 90]])
    assert due(log, ROOT, told(log, light)) == [], "of a new child nothing is known yet"
    assert due(log, ROOT, told(log, [*light, 0.0])) == [2, 4]


def test_what_a_scan_promised_is_not_said_of_a_cover_that_is_left() -> None:
    log = split()
    few = {n: shard(2, 0, 0, [], 9) for n in range(2)}
    assert missed(log, few) == COVER.miss_bound[0]
    fold(log, [folded_record(ROOT, [3], 3, "b")])
    assert missed(log, {n: shard(3, 0, 0, [], 9) for n in range(2)}) == 1.0
    bound = missed(log, {n: shard(3, 0, 2, [], 9) for n in range(2)})
    assert bound is not None and bound < 0.003


def test_views_say_who_is_folded_and_let_the_nearest_stand_for_it() -> None:
    log = split()
    fold(log, [folded_record(ROOT, [3], 3, "b")])
    columns = {"path": [""], "state": ["covering"], "rows": [50], "gone": [0], "radius": [2.0],
               "folded": [0], "faded": [5.0], "miss_bound": [None]}  # fmt: skip
    record = {"nodes": columns, "clock": 100, "bytes": 0, "rate": 0.0, "trunk": False, "marks": []}
    portions = {node_name(p): {"portion": node_name(p), **record} for p in OWNERS}
    view = TreeView(log, {}, portions, {})
    assert [view.folded((0, i)) for i in range(4)] == [False, False, False, True]
    cover = level_cover(view.summaries(), 1)
    assert (cover.paths, cover.rows.tolist()) == (((0, 0), (0, 1), (0, 2)), [50, 100, 50])
    query = np.array([39.0, 39.0])
    assert home(log.covers, Above(), query) == (0, 3)
    assert home(log.covers, Above(), query, log.reopened.folded) == (0, 1)
