"""Runs of the simulator: many seeds, every rule after every step, and the truth at the end.

`PCT_SIM_SEED=n` replays one seed, `PCT_SIM_RUNS=n` sets how many there are.
"""

from __future__ import annotations

import ast
import os
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from sim.folds import FOLDED
from sim.run import run
from sim.world import ASKED, GRACE, HANDING, MARKED, RECORDED

from pctstream.core.moves import COPYING, DONE, PLANNED, SHADOWING, VERIFYING

SEED = os.environ.get("PCT_SIM_SEED")
RUNS = int(os.environ.get("PCT_SIM_RUNS", "300"))
PARTS = 24
MOVING = (6, 16)
"""Seeds in whose runs portions move."""
LIVING = (6, 26)
"""Seeds in whose runs nodes re-open, and portions that have such nodes move."""
GROWING = (26, 33, 58)
"""Seeds in whose runs N0 is re-opened, with crashes, zombies and stores made again."""
STRUCK = (16, 36, 109, 228)
"""Seeds that have a fault of each kind at each stage of a move, up to the end of its grace."""
STANDING = (0, 33, 36)
"""Seeds in whose runs warm copies take over; in one N0 is re-opened, in one portions move."""
DEEP = (1, 9)
"""Seeds in whose deep runs trunk nodes re-open and portions are promoted, with faults at every step."""
SINKING = (2, 24, 33)
"""Seeds in whose sinking runs sinks come to have a cover; in two of them portions move, with faults."""
FOLDING = (129, 159, 170, 182)
"""Seeds in whose runs children are folded."""
FOLDED_ABOVE = (25, 37, 58)
"""Seeds in whose folding runs children above the cut are folded, with faults at every step."""
FOLDED_BELOW = (8, 17)
"""Seeds in whose deep runs children of trunk nodes are."""
LOSSY = (38, 83)
"""Seeds in whose runs the ingest log is cut."""

lived = cache(run)
"""Each seed is run once in a process."""


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_doubled_or_altered_whatever_happens(part: int) -> None:
    seeds = [int(SEED)] if SEED else range(part, RUNS, PARTS)
    ends: Counter[str] = Counter()
    for seed in seeds:
        ended = lived(seed)
        ends[ended.state] += 1
        ends.update(ended.moves)
    if not SEED:
        assert ends["splitting"] > len(list(seeds)) / 2, f"most runs must grow: {ends}"


def test_portions_move_in_the_runs() -> None:
    """A few of the seeds above: without one that moves a portion, nothing was shown of moves."""
    stages = Counter(stage for seed in MOVING for stage in lived(seed).moves)
    assert stages["DONE"] >= len(MOVING), stages


def test_nodes_re_open_in_the_runs() -> None:
    """And are, at rest, those of a plain recursion over the rows, wherever they went."""
    ended = [lived(seed) for seed in LIVING]
    assert all(one.reopened and "DONE" in one.moves for one in ended), ended


def test_sinks_that_come_to_have_a_cover_split_whatever_happens() -> None:
    """And the tree at rest is that of a plain recursion over the rows, those that stayed and left too."""
    ended = [run(seed, sinking=True) for seed in SINKING]
    assert all(one.late for one in ended), ended
    faults = {fault for one in ended for _, _, fault in one.met}
    assert faults >= {"crash", "rebuild", "zombie"}
    assert sum("DONE" in one.moves and one.reopened > 0 for one in ended) == 2, ended


def test_children_are_folded_in_the_runs() -> None:
    """The same ones, at rest, as in a plain recursion over the rows and their times, wherever they went."""
    ended = [lived(seed) for seed in FOLDING]
    assert all(one.folded for one in ended), ended
    assert sum("DONE" in one.moves for one in ended) > 1, "no portion moved meanwhile"
    assert sum(one.reopened > 0 for one in ended) > 1, "none re-opened meanwhile"
    assert any(one.taken_over for one in ended), "no warm copy took over"


def test_children_above_the_cut_are_folded_whatever_happens() -> None:
    """And each row went where its place in its input says (`run.routed_by_place`)."""
    ended = [run(seed, folding=True) for seed in FOLDED_ABOVE]
    assert all(one.above for one in ended), ended
    below = [run(seed, deep=True, folding=True) for seed in FOLDED_BELOW]
    assert all(one.of_trunks for one in below) and sum(one.promoted for one in below), below
    assert any(one.epochs > one.above + 1 for one in ended), "N0 was never re-opened meanwhile"
    assert any("DONE" in one.moves for one in ended), "no portion moved meanwhile"
    assert any(one.taken_over for one in ended), "no warm copy took over"
    met = {one for run_ in [*ended, *below] for one in run_.met}
    shards = {
        (FOLDED, part, fault)
        for part in ("reader", "child")
        for fault in ("crash", "rebuild", "zombie")
    }
    assert (shards | {(FOLDED, "author", "crash")}) - met == set()


def test_n0_is_re_opened_in_the_runs() -> None:
    """And each row went where its place in its input says (`run.routed_by_place`)."""
    ended = [lived(seed) for seed in GROWING]
    assert all(one.epochs > 1 for one in ended), ended
    assert any("DONE" in one.moves for one in ended), "no portion moved meanwhile"


def test_warm_copies_take_over_in_the_runs() -> None:
    """And hold at rest what their shards hold (`standby.Guard.at_rest`)."""
    ended = [lived(seed) for seed in STANDING]
    assert all(one.taken_over > 2 for one in ended), ended
    assert any(one.epochs > 1 for one in ended), "N0 was never re-opened meanwhile"
    assert any("DONE" in one.moves for one in ended), "no portion moved meanwhile"


def test_rows_that_are_gone_unread_end_a_run() -> None:
    """R1: an ingest log that is cut before it was read is not read on in silence."""
    assert {lived(seed).state for seed in LOSSY} == {"lost"}


def test_the_simulator_has_no_logic_of_the_product() -> None:
    """What feeds, routes, applies, folds and restores is imported from pctstream."""
    ours = {
        name.id if isinstance(name, ast.Name) else getattr(name, "name", "")
        for path in Path(__file__).parent.glob("*.py")
        for name in ast.walk(ast.parse(path.read_text()))
        if isinstance(name, (ast.FunctionDef, ast.ClassDef))
    }
    theirs = {
        "feed", "reroute", "rerouted", "adopt", "delivered", "owner_applied", "apply", "fold",
        "take", "carry", "restore", "begin", "advance", "decode", "decode_pipe", "sniff",
        "nearest", "parcels", "records", "split", "sample", "segments", "position", "Root",
        "Portion", "Shard", "Store", "Performer", "Author", "Routing", "Marks", "Turns",
        "Pending", "CrashPoints", "Unit", "Block", "sift",
    }  # fmt: skip
    assert not ours & theirs
    used = {
        (node.module, name.name)
        for path in Path(__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pctstream")
        for name in node.names
    }
    for module, name in (
        ("pctstream.agents.perform", "Performer"), ("pctstream.agents.shard", "Shard"),
        ("pctstream.store", "Store"), ("pctstream.core.tree", "Author"),
        ("pctstream.core.routing", "Routing"), ("pctstream.core", "ingest"),
    ):  # fmt: skip
        assert (module, name) in used


def test_trunk_nodes_re_open_and_portions_are_promoted_whatever_happens() -> None:
    ended = [run(seed, deep=True) for seed in DEEP]
    assert sum(run_.below for run_ in ended), "no trunk node below N0 was re-opened"
    assert sum(run_.promoted for run_ in ended) >= len(DEEP)
    met = {one for run_ in ended for one in run_.met}
    hit = {
        (stage, part, fault)
        for stage in (RECORDED, MARKED, HANDING)
        for part in ("owner", "child") if (stage, part) != (RECORDED, "child")
        for fault in ("crash", "rebuild", "zombie")
    }  # fmt: skip
    authors = {(stage, "author", "crash") for stage in (ASKED, RECORDED, MARKED, HANDING)}
    assert (hit | authors) - met == set()


def test_faults_fall_upon_moves_at_every_stage_and_every_role() -> None:
    """Of the seeds above: where a fault never happens, nothing was shown."""
    ended = [lived(seed) for seed in STRUCK]
    met = {one for run_ in ended for one in run_.met}
    shards = {
        (stage, part, fault)
        for stage in (PLANNED, COPYING, SHADOWING, VERIFYING, DONE, GRACE)
        for part in ("source", "target")
        for fault in ("crash", "rebuild", "zombie")
    }
    authors = {(stage, "author", "crash") for stage, _, _ in shards}
    assert (shards | authors) - met == set()
    assert any(run_.returned for run_ in ended), "no portion went p -> q -> p"
