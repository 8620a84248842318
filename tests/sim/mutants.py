"""Does the simulator see a broken rule? Each mutant is one line of the product, made wrong.

`python -m sim.mutants` copies the package, edits the copy and runs seeds until one turns red. A
mutant that no seed turns red, or whose line is not in the product any more, is a failure. (The same
watermark check in a portion needs a loss, a restore and a delivery in between on one pipe: a seed in
hundreds, so `tests/core/test_portion.py` sees to that one.)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parents[1]
PACKAGE = HERE.parent / "pctstream"
SEEDS = 320


class Mutant(NamedTuple):
    """A line of the product and what it becomes."""

    name: str
    file: str
    line: str
    instead: str


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
    ),
    Mutant(
        "seq check dropped",
        "core/routing.py",
        "        if not isinstance(seq, int) or seq != self.seq + 1:",
        "        if not isinstance(seq, int):",
    ),
    Mutant(
        "go on after a failed delivery",
        "agents/perform.py",
        "                if reason is None:",
        "                if True:",
    ),
    Mutant(
        "repeats are not dropped by the watermark",
        "core/handing.py",
        "        if unit.last <= self.taken:",
        "        if False:",
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
    ),
    Mutant(
        "the rows of a node that splits stay where they are",
        "core/growth.py",
        "                self.labels.append((offset, now))",
        "                pass",
    ),
    Mutant(
        "what a node held is not scanned after a restart",
        "core/growth.py",
        "            self._tree.scan(rows, leaf, self._unscanned)",
        "            pass",
    ),
    Mutant(
        "a cover of all rows there are, not of those scanned",
        "core/growth.py",
        "        self._wanted |= {n.number: n.find.rows for",
        "        self._wanted |= {n.number: 10**9 for",
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
    ),
    Mutant(
        "what has left a child stays there",
        "core/ids.py",
        '        away = np.flatnonzero((was["child"] >= 0) & ~same)',
        '        away = np.flatnonzero((was["child"] >= 0) & ~same & (child < 0))',
    ),
    Mutant(
        "the directory is written before its rows are acked",
        "core/root.py",
        "(BELOW, self._below.done(at.routed))",
        "(BELOW, self._below.done(1 << 62))",
    ),
    Mutant(
        "a cover is refined without the rows that have left",
        "core/growth.py",
        "                mine = rows[leaf == number][",
        "                there = ~np.isin(np.arange(len(leaf)), [] if gone is None else gone)\n"
        "                mine = rows[(leaf == number) & there][",
    ),
    Mutant(
        "rows that left are not counted where they go when a node splits",
        "core/growth.py",
        "                    self._tree.leave(now[moved], leaf[moved])",
        "                    pass",
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
    ),
    Mutant(
        "a copy forgets what left",
        "keyspace.py",
        "OF_A_PORTION = (*OF_ROWS, NODES,",
        "OF_A_PORTION = (ROWS, LEAVES, FIRSTS, PLACES, NODES,",
    ),
)


def red(mutant: Mutant, seeds: int = SEEDS) -> str | None:
    """How the first seed that sees the mutant fails; None if none does."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pctstream"
        shutil.copytree(PACKAGE, copy)
        shutil.copytree(HERE / "sim", Path(folder) / "sim")
        file = copy / mutant.file
        text = file.read_text()
        if text.count(mutant.line) != 1:
            raise SystemExit(f"{mutant.name}: {mutant.file} has not this line once: {mutant.line}")
        file.write_text(text.replace(mutant.line, mutant.instead))
        done = subprocess.run(
            [sys.executable, "-m", "sim.run", "0", str(seeds)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            timeout=900,
        )
        if done.returncode == 0:
            return None
        last = done.stderr.strip().splitlines()[-1]
        if "PCT_SIM_SEED" not in last:
            raise SystemExit(f"{mutant.name}: the run broke, no rule did: {done.stderr}")
        return last


def main() -> None:
    alive = []
    for mutant in MUTANTS:
        found = red(mutant)
        print(f"{'red ' if found else 'GREEN'} {mutant.name}: {found}", flush=True)
        alive += [] if found else [mutant.name]
    if alive:
        raise SystemExit(f"not seen: {', '.join(alive)}")


if __name__ == "__main__":
    main()
