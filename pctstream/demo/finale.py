"""The end of the demo: the proof, the tree at rest, and what a solver asks of it."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pctstream import photographs
from pctstream.commands.solver import number
from pctstream.demo import tiles
from pctstream.demo.growth import faults
from pctstream.demo.telling import say, title
from pctstream.running import Running

TOLD_S = 6.0
COVERED = 2
"""The level whose cover is asked for."""
HEAVIEST = 3
NEAREST = 4
ASKED = "china-119-268"
"""Id of a patch."""
SEARCH_S = 120.0


class Finale:
    """What is looked at when every row has been applied."""

    def __init__(self, system: Running, broker: str, total: int) -> None:
        self._system, self._total = system, total
        self._env = {**system.env, "PCT_BROKER": broker}

    def proof(self) -> int:
        """verify's exit code; 1 if it or the tree counts other rows than were fed."""
        title("verify: the ingest log against what the stores hold, row by row")
        words = ("verify", "--data-dir", str(self._system.folder), "--json")
        code, text = self._run(words, "comparing")
        said = json.loads(text or "{}")
        say(json.dumps(said))
        tree = self._system.ask("/v1/tree") or {"rows": -1}
        whole = said.get("ingested") == self._total == tree["rows"]
        if code == 0 and not whole:
            say(f"{self._total:,} rows were fed, the tree says {tree['rows']:,}: NOT right")
        say(f"lost {said.get('lost')}, duplicated {said.get('duplicated')}")
        return code or int(not whole)

    def look(self) -> list[str]:
        """Show the tree; what is wrong with it."""
        title("the tree, level by level")
        say(self._shell("status"))
        root = self._system.ask("/v1/nodes/N0") or {}
        if entropy := root.get("entropy"):
            say(f"entropy of N0's cells: {entropy['before']:.3f} before k-means, "
                f"{entropy['after']:.3f} after (1 = all equally likely)")  # fmt: skip
        tree = self._system.ask("/v1/tree") or {"levels": []}
        covers = {n: self._system.ask(f"/v1/levels/{n}/cover") for n in range(len(tree["levels"]))}
        if covers.get(1):
            self._pictures(covers[1]["cover"])
        if covers.get(COVERED):
            self._questions()
        return faults(covers)

    def moved(self, moves: list[dict[str, Any]]) -> list[str]:
        """Why the portions moved, and that both shards held the same; what is wrong with that."""
        title("a portion changed its shard: copied, shadowed, proven equal, and only then asked")
        for move in moves[:1]:
            told = self._shell("moves", "explain", move["id"]).splitlines()
            say("\n".join(line for line in told if not line.startswith("  stays")))
        for move in moves:
            steps = [f"{h['stage']} +{h['time'] - move['history'][0]['time']:.1f} s"
                     for h in move["history"]]  # fmt: skip
            say(f"{move['id']} {move['portion']} from shard {move['from']} to {move['to']}: "
                f"{', '.join(steps)}")  # fmt: skip
            if proof := move["proof"]:
                say(f"  both held the same {proof['count']:,} rows at offset {proof['offset']} of its "
                    f"pipe: {proof['hash_from']}")  # fmt: skip
        return [] if moves else ["nothing has moved"]

    def search(self) -> list[str]:
        """The patches nearest to a patch; what is wrong with the answer."""
        title("the nearest patches of a patch, exact, and what was looked at")
        words = ("query", "search", "--like", ASKED, "-k", "4", "--explain")
        asked = (*words, "--http", self._system.urls[0])
        # a shard lays its rows out for search when it is first asked, and answers once they are
        self._system.ask(f"/v1/rows/{ASKED}")
        deadline = time.monotonic() + SEARCH_S
        while "rows, exact" not in (said := self._run(asked, "asking", quiet=True)[1]):
            if time.monotonic() > deadline:
                return [f"the nearest rows of {ASKED}: not exact within {SEARCH_S:.0f} s: {said}"]
            time.sleep(0.5)
        say(f"$ {program()} {' '.join(asked)}")
        say(said.rstrip())
        return []

    def _pictures(self, entries: list[dict[str, Any]]) -> None:
        """The centroids of a level, the heaviest first."""
        title("level 1: the mean patch of each node and its share of the rows")
        heaviest = sorted(entries, key=lambda e: -e["w"])
        made = [
            tiles.Tile(e["node"], e["w"], photographs.pixels(e["x"])) for e in heaviest if e["x"]
        ]
        columns = shutil.get_terminal_size().columns
        say("\n".join(tiles.shown(made, sys.stdout, os.environ, columns)))

    def _questions(self) -> None:
        """A cover and a neighbour query, as a shell asks them."""
        title("what a solver asks: a weighted cover instead of the rows, and who is near")
        found = json.loads(self._shell("query", "cover", str(COVERED), hidden=("--json",)))
        entries = found["cover"]
        weight = math.fsum(e["w"] for e in entries)
        say(f"{len(entries):,} entries stand for {found['rows']:,} rows, their weights sum to "
            f"{weight:.9g}; the heaviest:")  # fmt: skip
        placed = sorted((e for e in entries if e["x"]), key=lambda e: -e["w"])
        for entry in placed[:HEAVIEST]:
            say(f"  {entry['node']:<9} weight {entry['w']:.6f}, {entry['rows']:,} rows within "
                f"{number(entry['radius'])} of its centre")  # fmt: skip
        say(self._shell(
            "query", "neighbors", str(COVERED), "--node", placed[0]["node"],
            "--max-distance", f"{reach([e['x'] for e in placed], NEAREST):g}",
        ))  # fmt: skip

    def _shell(self, *words: str, hidden: tuple[str, ...] = ()) -> str:
        """A command's answer, after the command as a reader can copy it."""
        asked = (*words, "--http", self._system.urls[0])
        say(f"$ {program()} {' '.join(asked)}")
        return self._run((*asked, *hidden), "asking")[1].rstrip()

    def _run(self, words: tuple[str, ...], doing: str, quiet: bool = False) -> tuple[int, str]:
        """Exit code and output of `pctstream ...`; says every few seconds that it goes on."""
        command = [sys.executable, "-m", "pctstream", *words]
        errors = subprocess.DEVNULL if quiet else None
        running = subprocess.Popen(
            command, env=self._env, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        started = time.monotonic()
        while True:
            try:
                text, _ = running.communicate(timeout=TOLD_S)
                return running.returncode, text
            except subprocess.TimeoutExpired:
                say(f"{doing} ... ({time.monotonic() - started:.0f} s)")


def program() -> str:
    """How this shell calls pctstream: by its name where that is on the path."""
    beside = Path(sys.executable).with_name("pctstream")
    return "pctstream" if shutil.which("pctstream") else os.path.relpath(beside)


def reach(centres: list[list[float]], count: int) -> float:
    """A round distance from the first centre within which the nearest ``count`` others lie."""
    x = np.asarray(centres, np.float64)
    distances = np.sort(np.sqrt(((x - x[0]) ** 2).sum(axis=1)))
    return (math.floor(float(distances[min(count, len(x) - 1)]) * 100) + 1) / 100
