"""Does the simulator see a broken rule? Each mutant is one line of the product, made wrong.

`python -m sim.mutants` copies the package, edits the copy and runs seeds until one turns red, and prints
which rule saw it at which seed. A mutant that no seed turns red, that turns one red without a rule's
name, or whose line is not in the product any more, is a failure. (The same watermark check in a portion
needs a loss, a restore and a delivery in between on one pipe: a seed in hundreds, so
`tests/core/test_portion.py` sees to that one.)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parents[1]
PACKAGE = HERE.parent / "pctstream"
SEEDS = 320
RED = re.compile(r"PCT_SIM_SEED=(\d+) replays this: (R\d+|places|filters|rest): ")


class Mutant(NamedTuple):
    """A line of the product and what it becomes."""

    name: str
    file: str
    line: str
    instead: str
    first: int = 0
    """A seed that has seen it: tried before all others."""
    kind: str = ""
    """Of run: "deep", "sinking", "folding" (`world.World`)."""


class Seen(NamedTuple):
    """Which rule saw a mutant, and at which seed."""

    rule: str
    seed: int
    said: str


MUTANTS = (
    Mutant(
        "ack before durable",
        "core/root.py",
        "            return [Send(last, parcels, dead)]",
        "            return [Send(last, parcels, dead), *self.delivered(last)]",
    ),
    Mutant(
        "watermark check skipped",
        "core/handing.py",
        "        if unit.prev > self.taken:",
        "        if False:",
        8,
    ),
    Mutant(
        "seq check dropped",
        "core/routing.py",
        "        if not isinstance(seq, int) or seq != self.seq + 1:",
        "        if not isinstance(seq, int):",
        5,
    ),
    Mutant(
        "go on after a failed delivery",
        "agents/perform.py",
        "                if reason is None:",
        "                if True:",
        9,
    ),
    Mutant(
        "repeats are not dropped by the watermark",
        "core/handing.py",
        "            if part.last <= self.taken:",
        "            if False:",
        3,
    ),
    Mutant(
        "marks are not asked",
        "core/marks.py",
        "            fresh[i] = True\n            mark_offset",
        "            mark_offset",
    ),
    Mutant(
        "marks are not kept",
        "core/portion.py",
        '            "marks": self.marks.to_json(),',
        '            "marks": [],',
    ),
    Mutant(
        "a stale turn is taken",
        "agents/perform.py",
        "        if turn.stale:",
        "        if False:",
    ),
    Mutant(
        "a node that raised goes on",
        "agents/perform.py",
        "            turn.shard.lost.add(turn.node.path)",
        "            pass",
        13,
    ),
    Mutant(
        "purged before the owners have it",
        "core/handing.py",
        "        if not self._splitting or not self.stored_rows or self._held.rows:",
        "        if not self._splitting or not self.stored_rows:",
    ),
    Mutant(
        "position and rows in two batches",
        "store.py",
        "        if effect.rows is not None:\n            changes.append(",
        "        self._kv.write(changes)\n        if effect.rows is not None:\n"
        "            changes.append(",
    ),
    Mutant(
        "a level is not waited for",
        "core/subtree.py",
        "            n for n in self.nodes if n.state == life.WAITING and n.level < self.gates.open_level",
        "            n for n in self.nodes if n.state == life.WAITING",
        1,
    ),
    Mutant(
        "the rows of a node that splits stay where they are",
        "core/growth.py",
        "        self.labels.append((offset, now))",
        "        pass",
        1,
    ),
    Mutant(
        "what a node held is not scanned after a restart",
        "core/growth.py",
        "            self._tree.leaves.scan(rows, now, steps, self._unscanned)",
        "            pass",
        1,
    ),
    Mutant(
        "a cover of all rows there are, not of those scanned",
        "core/growth.py",
        "        rows = np.concatenate(self._kept[node.number])[: find.rows]",
        "        rows = np.concatenate(self._kept[node.number])",
    ),
    Mutant(
        "a bridge's repeats are taken again",
        "core/root.py",
        "        self.taken, self._marked = unit.last, fresh.marks",
        "        self.taken = unit.last",
    ),
    Mutant(
        "held rows are forgotten",
        "core/handing.py",
        "        if last <= self.position.routed:\n            return []\n",
        "        if last <= self.position.taken:\n            return []\n",
    ),
    Mutant(
        "what is forgotten is still done",
        "store.py",
        "        self._kv.write([(of_input(source), None)])\n        for",
        "        for",
        5,
    ),
    Mutant(
        "what has left a child stays there",
        "core/ids.py",
        '        away = np.flatnonzero((was["child"] >= 0) & ~same)',
        '        away = np.flatnonzero((was["child"] >= 0) & ~same & (child < 0))',
        1,
    ),
    Mutant(
        "the directory is written before its rows are acked",
        "core/root.py",
        "(BELOW, self._below.done(at.routed))",
        "(BELOW, self._below.done(1 << 62))",
        2,
    ),
    Mutant(
        "a cover is refined without the rows that have left",
        "core/growth.py",
        "                mine = rows[leaf == number][",
        "                gone = [np.isin(np.arange(len(s.leaf)), () if s.gone is None else s.gone)\n"
        "                        for s in piece]\n"
        "                there = ~np.concatenate(gone)\n"
        "                mine = rows[(leaf == number) & there][",
        1,
    ),
    Mutant(
        "rows that left are not counted where they go when a node splits",
        "core/growth.py",
        "            self._tree.leave(now[moved], leaf[moved])",
        "            pass",
        1,
    ),
    Mutant(
        "the epoch is adopted outside the input log",
        "core/handing.py",
        "        waited, self._waits = self._waits, False\n",
        "        waited, self._waits = self._waits, False\n"
        "        if self._splitting:\n            self._turn(max(epochs.children))\n",
    ),
    Mutant(
        "a replay is routed by the newest epoch",
        "core/handing.py",
        "        self._turn(self._epoch if later else epoch)",
        "        self._turn(max(self._epochs.children) if self._epochs and not later else epoch)",
    ),
    Mutant(
        "the epoch is not kept with the position",
        "store.py",
        '        "epoch": position.epoch,',
        '        "epoch": min(position.epoch, 1),',
        142,
    ),
    Mutant(
        "a copy forgets what left",
        "keyspace.py",
        "OF_A_PORTION = (*OF_ROWS, NODES,",
        "OF_A_PORTION = (ROWS, LEAVES, FIRSTS, PLACES, NODES,",
        6,
    ),
    Mutant(
        "a filter is not updated in a shadow",
        "agents/shard.py",
        "        with self.blooms.applying(effect):",
        "        from dataclasses import replace\n"
        "        rows = None if effect.path in self.shadows else effect.rows\n"
        "        with self.blooms.applying(replace(effect, rows=rows)):",
        50,
    ),
    Mutant(
        "the source lets go before the proof",
        "core/outline.py",
        "        return sorted(path for path, owner in list(self.owners.items()) if owner == shard)",
        "        going = [m.portion for m in self.moves.unfinished if m.stage == 'VERIFYING']\n"
        "        return sorted(p for p, o in self.owners.items() if o == shard and p not in going)",
        5,
    ),
    Mutant(
        "the source lets go at the switch",
        "core/moves.py",
        "            elif move.stage == DONE and not move.dropped and move.source == shard:",
        "            elif False:",
        6,
    ),
    Mutant(
        "the new owner's epoch is not waited for",
        "core/mover.py",
        '        return told is not None and told["epoch"] >= log.since[move.portion]',
        "        return told is not None",
        6,
    ),
    Mutant(
        "a copy is done with what its owner has not told of",
        "agents/follow.py",
        "                done = ticket.number <= (routed if ticket.routed else max(stored, routed))",
        "                done = True",
    ),
    Mutant(
        "a copy is done with what its owner has only stored",
        "agents/follow.py",
        "                done = ticket.number <= (routed if ticket.routed else max(stored, routed))",
        "                done = ticket.number <= max(stored, routed)",
        2,
    ),
    Mutant(
        "a copy is asked before it owns",
        "agents/shard.py",
        "        return [p for p in self.copies if p.path not in self.shadows]",
        "        return [p for p in self.copies if self.standby or p.path not in self.shadows]",
    ),
    Mutant(
        "reset=earliest",
        "pipes/client.py",
        '        "auto.offset.reset": "error",',
        '        "auto.offset.reset": "earliest",',
        83,
    ),
    Mutant(
        "rows that are gone unread are not missed",
        "agents/inputs.py",
        "    if low <= done + 1:",
        "    if True:",
        38,
    ),
    Mutant(
        "commits trusted for pipes",
        "agents/inputs.py",
        "    return path == ROOT",
        "    return True",
        5,
    ),
    Mutant(
        "a delete purged where a scan follows",
        "core/subtree.py",
        "        ends = (life.SINK, life.LEAF)\n",
        "        ends = (life.SINK, life.LEAF, life.WAITING)\n",
        1,
    ),
    Mutant(
        "a portion turns without its marker",
        "core/promotion.py",
        "        self._told = told\n",
        "        self._told = told\n        self._epoch_to_be = max(told.epochs, default=-1)\n",
        1,
        "deep",
    ),
    Mutant(
        "a sink forgets the scan that it is in",
        "core/sink.py",
        "        scanned = None if find is None else (find.rows, find.gap_now)",
        "        scanned = None",
        96,
        "sinking",
    ),
    Mutant(
        "the rows that a sink held go down in a later pass",
        "core/subtree.py",
        "        goes[list(split)] = True",
        "        goes[:] = True",
        3,
        "sinking",
    ),
    Mutant(
        "a fold decided by the clock",
        "core/descent.py",
        "        passed = self.watch.passed(node.number)\n",
        "        import time\n        passed = time.time_ns() // 1_000_000 % 128\n",
        129,
    ),
    Mutant(
        "who is folded is forgotten at a restart",
        "core/node.py",
        '            list(record.get("folded", ())), ',
        "            [], ",
        170,
    ),
    Mutant(
        "what a child got is forgotten at a restart",
        "core/folding.py",
        "            self._rows[number, int(step) % KEPT] = rows",
        "            pass",
        170,
    ),
    Mutant(
        "a pass that splits a node does not say how old its rows are",
        "core/growth.py",
        "self._tree.move(rows, now, [n.number for n in self._split], steps)",
        "self._tree.move(rows, now, [n.number for n in self._split])",
        182,
    ),
    Mutant(
        "who is folded above the cut is heeded before the marker",
        "core/handing.py",
        "said.children[epoch], said.gone(epoch))",
        "said.children[epoch], said.gone(said.seq))",
        0,
        "folding",
    ),
    Mutant(
        "a child above the cut is folded for an epoch alone",
        "core/router.py",
        "if since <= epoch]",
        "if since == epoch]",
        11,
        "folding",
    ),
    Mutant(
        "places of what left stay",
        "agents/spatial.py",
        "            if any(last not in firsts for last in left[:, 0].tolist()):",
        "            if True:",
    ),
    Mutant(
        "places of what was purged keep their numbers",
        "agents/spatial.py",
        "        return part is not None and self.shard.store.version(path)[1] == part.purged",
        "        return part is not None",
        6,
    ),
)


def red(mutant: Mutant, seeds: int = SEEDS) -> Seen | None:
    """Which rule sees the mutant, at which seed; None if none does."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pctstream"
        shutil.copytree(PACKAGE, copy)
        shutil.copytree(HERE / "sim", Path(folder) / "sim")
        file = copy / mutant.file
        text = file.read_text()
        if text.count(mutant.line) != 1:
            raise SystemExit(f"{mutant.name}: {mutant.file} has not this line once: {mutant.line}")
        file.write_text(text.replace(mutant.line, mutant.instead))
        for first, count in ((mutant.first, 1), (0, seeds)):
            done = subprocess.run(
                [sys.executable, "-m", "sim.run", str(first), str(count), mutant.kind],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": folder},
                capture_output=True,
                text=True,
                timeout=900,
            )
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1]
                if (found := RED.search(last)) is None:
                    raise SystemExit(f"{mutant.name}: the run broke, no rule did: {done.stderr}")
                return Seen(found[2], int(found[1]), last[found.end() :])
    return None


def main() -> None:
    alive = []
    print(f"{'mutant':60} {'rule':8} seed  what it said")
    for mutant in MUTANTS:
        found = red(mutant) or Seen("NOBODY", -1, "")
        print(f"{mutant.name:60} {found.rule:8} {found.seed:4}  {found.said:.90}", flush=True)
        alive += [] if found.said else [mutant.name]
    if alive:
        raise SystemExit(f"not seen: {', '.join(alive)}")


if __name__ == "__main__":
    main()
