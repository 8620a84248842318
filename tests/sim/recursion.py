"""The tree that a sequence of rows makes, by plain recursion: what every way of growing must find."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from pctstream.core import fading, ingest, kernels, life
from pctstream.core.block import Origin, Source
from pctstream.core.cover import Cover, refine
from pctstream.core.coverage import Coverage
from pctstream.core.fading import KEPT, STEPS
from pctstream.core.find import FindCover
from pctstream.core.folding import GRAINS
from pctstream.core.kernels import Float64
from pctstream.core.lanes import Float32
from pctstream.core.names import ROOT, Path
from pctstream.core.node import Shape
from pctstream.core.reopening import ASIDE
from pctstream.core.routing import Routing
from pctstream.core.unit import Message
from pctstream.store import Store

Tree = dict[Path, dict[str, Any]]


def recursion(
    path: Path,
    rows: Float32,
    centre: Float32,
    shape: Shape,
    budget: int,
    epsilons: Mapping[int, float],
    cut: int = 0,
    times: Float64 | None = None,
) -> Tree:
    """Every node below and with ``path``, all levels open from the start; nodes above ``cut`` do not
    re-open or fold. ``times`` f64[n] of the rows, in seconds."""
    trunk = {"miss_limit": 0.0, "sink_scans": False, "fold_share": 0.0}
    here = shape if len(path) > cut else shape._replace(**trunk)
    times = np.full(len(rows), np.nan) if times is None else times
    distances = kernels.distances(rows, np.zeros(len(rows), np.int32), centre[None])
    out: dict[str, Any] = {
        "state": life.COVERING, "limit": "", "cover": None, "uncovered": 0, "held": rows.tolist(),
        "holds": False,
        "counts": {"rows": len(rows), "distance": float(np.cumsum([0.0, *distances])[-1]),
                   "radius": float(max(distances, default=0.0))},
    }  # fmt: skip
    level = len(path) - 1
    if level >= shape.max_level:
        return {path: out | {"state": life.LEAF}}
    epsilon = epsilons.get(level)
    if epsilon is None:
        return {path: out}
    find = FindCover(
        rows.shape[1], epsilon, shape.gap, shape.sink_rows, shape.stop, shape.prototypes
    )
    find.feed(rows)
    if find.state == "covering":
        return {path: out}
    k = len(find.prototypes)
    if find.state == "sink" or k > budget:
        why = {"rows": "sink_rows", "prototypes": "prototypes"}.get(find.reason, "nodes")
        out |= {"state": life.SINK, "limit": why}
        if not here.sink_scans:
            return {path: out}
        held, found = scanned_again(rows, find.rows, epsilon, shape, budget)
        if held < 0:
            return {path: out | {"aside": np.array(found).tolist()}}
        cover, sample = unrefined(np.array(found), epsilon, shape.gap), 0
        out |= {"limit": "", "holds": True}
    else:
        held, sample = 0, find.rows
        cover = refine(
            rows[:sample], find.prototypes, find.epsilon, shape.kmeans_iterations, shape.gap,
            shape.balance,
        )  # fmt: skip
    node, out["held"] = Living(cover, here, budget, level), rows[:held].tolist()
    rows, times = rows[held:], times[held:]
    sent = enumerate(zip(rows, times, strict=True))
    child = np.array([node.row(row, time, at >= sample) for at, (row, time) in sent], int)
    out |= {"state": life.SPLITTING, "cover": cover.hash, "uncovered": node.uncovered}
    out |= {"prototypes": node.prototypes.tolist(), "aside": np.array(node.aside).tolist()}
    out |= {"folded": node.folded}
    tree = {path: out}
    for i, (centre, below) in enumerate(zip(node.centroids, node.below, strict=True)):
        mine = child == i
        tree |= recursion((*path, i), rows[mine], centre, shape, below, epsilons, cut, times[mine])
    return tree


def scanned_again(
    rows: Float32, seen: int, epsilon: float, shape: Shape, budget: int
) -> tuple[int, list[Float32]]:
    """Of the rows of a sink, that was one after so many: those up to the one at which it splits, and its
    prototypes. -1 if it stays one, and what it has found where it still scans."""
    start, room = 2 * shape.sink_rows, min(shape.prototypes, budget)
    while room > 0 and start < len(rows):
        if start < seen:
            start *= 2
            continue
        found: list[Float32] = []
        gap = 0
        for scanned, row in enumerate(rows[start : start + shape.sink_rows], 1):
            seen = start + scanned
            if new := not found or _beyond(row, np.array(found), epsilon):
                if len(found) == room:
                    break
                found.append(row)
            gap = 0 if new else gap + 1
            if gap >= shape.gap and (shape.stop == "gap" or scanned % shape.gap == 0):
                return seen, found
        else:
            if seen < start + shape.sink_rows:
                return -1, found
    return -1, []


def unrefined(prototypes: Float32, epsilon: float, gap: int) -> Cover:
    """The cover of prototypes alone, of so many rows."""
    k, radius = len(prototypes), np.nextafter(np.float32(epsilon), np.float32(np.inf))
    ones = np.ones(k, np.int64)
    return Cover(prototypes, prototypes, ones, np.full(k, radius), epsilon, k, gap, 0.0, 0.0)


class Living:
    """A split node, a row at a time: its cover, what it misses, what it finds when it re-opens, and which
    children it folds."""

    def __init__(self, cover: Cover, shape: Shape, budget: int, level: int) -> None:
        self.prototypes, self.centroids = cover.prototypes, cover.centroids
        self._cover, self._shape = cover, shape
        free, lowest = budget - cover.k, level + 1 >= shape.max_level
        self._spare = (free if lowest else free // 4) if shape.miss_limit else 0
        self.below = [0 if lowest else (free - self._spare) // cover.k] * cover.k
        self.uncovered = 0
        self.aside: list[Float32] = []
        self.folded: list[int] = []
        self._sent: list[tuple[int, int]] = []
        """(child, step) of each row that has a time."""
        self._fresh()

    def _fresh(self) -> None:
        self._coverage, self._rest = Coverage(), self._windows(self._shape.miss_cooldown)
        self._scan: tuple[int, int] | None = None
        self.aside = []

    def _windows(self, rows: int) -> int:
        return max(1, math.ceil(rows / self._shape.miss_window))

    @property
    def _left(self) -> list[int]:
        return [i for i in range(len(self.prototypes)) if i not in self.folded]

    def row(self, row: Float32, time: float, counts: bool) -> int:
        """Its child; ``counts``: it is behind those that the cover was found in."""
        left = self._left
        child = left[int(_nearest(row, self.centroids[left]))]
        if self._shape.half_life_s and math.isfinite(time):
            self._sent.append((child, math.floor(time * STEPS / self._shape.half_life_s)))
        if counts:
            beyond = _beyond(row, self.prototypes[left], self._cover.epsilon)
            self.uncovered += beyond
            grown, scanned = len(self.prototypes), self._scan is not None
            self._counted(row, beyond)
            if not scanned and self._scan is None and grown == len(self.prototypes):
                self._look()
        return child

    def _look(self) -> None:
        """Once in so many windows: those that weigh too little are folded."""
        shape, coverage = self._shape, self._coverage
        if not shape.fold_share or coverage.rows or coverage.windows < 1:
            return
        if coverage.windows % self._windows(shape.miss_cooldown):
            return
        newest = max((step for _, step in self._sent), default=0)
        weights = [0] * len(self.prototypes)
        for child, step in self._sent:
            if newest - step < KEPT:
                weights[child] += round(GRAINS * 2.0 ** (-(newest - step) / STEPS))
        total, passed = sum(weights), coverage.windows * shape.miss_window
        if total < shape.miss_window * GRAINS or passed * GRAINS < total:
            return
        halves = [0.5**age for age in range(coverage.windows)]
        missed = coverage.faded / (shape.miss_window * sum(halves))
        lightest = sorted(self._left, key=lambda i: (weights[i], i))[:-1]
        sums = np.cumsum([weights[i] for i in lightest])
        light = [
            i
            for i, s in zip(lightest, sums, strict=True)
            if s < (shape.fold_share - missed) * total
        ]
        if light:
            self.folded += sorted(light)
            self._fresh()

    def _counted(self, row: Float32, beyond: bool) -> None:
        shape, coverage = self._shape, self._coverage
        coverage.take(np.array([beyond]), shape.miss_window)
        room = min(self._spare, shape.prototypes - len(self._left))
        if not shape.miss_limit or room < 1:
            return
        new = beyond and (not self.aside or _beyond(row, np.array(self.aside), self._cover.epsilon))
        if self._scan is not None:
            self._scanned(row, new, room)
            return
        if new:
            self.aside = [*([] if len(self.aside) == min(ASIDE, room) else self.aside), row]
        closed = coverage.rows == 0 and coverage.windows >= self._rest
        if closed and coverage.broken(shape.miss_limit, shape.miss_window):
            self._scan = 0, 0

    def _scanned(self, row: Float32, new: bool, room: int) -> None:
        shape = self._shape
        rows, gap = self._scan or (0, 0)
        rows, gap = rows + 1, 0 if new else gap + 1
        if new and len(self.aside) == room:
            self._in_vain(rows)
            return
        self.aside += [row] * new
        self._scan = rows, gap
        if gap >= shape.gap and (shape.stop == "gap" or rows % shape.gap == 0):
            if self.aside:
                self._grow()
            else:
                self._in_vain(rows)
        elif rows == shape.sink_rows:
            self._in_vain(rows)

    def _in_vain(self, rows: int) -> None:
        rest = self._windows(max(self._shape.miss_cooldown, rows))
        coverage = self._coverage
        self._fresh()
        self._coverage, self._rest = coverage, coverage.windows + rest

    def _grow(self) -> None:
        found = np.array(self.aside)
        below = max(0, min(self.below[0], self._spare // 4 // len(found) - 1))
        self.below += [below] * len(found)
        self._spare -= len(found) * (1 + below)
        self.prototypes = np.concatenate([self.prototypes, found])
        self.centroids = np.concatenate([self.centroids, found])
        self._fresh()


def _nearest(row: Float32, centroids: Float32) -> int:
    return int(kernels.nearest(row[None], kernels.transpose(centroids), len(centroids))[0])


def _beyond(row: Float32, prototypes: Float32, epsilon: float) -> bool:
    """By the definition: a float64 sum, taken in order."""
    difference = row.astype(np.float64) - prototypes.astype(np.float64)
    return bool((np.cumsum(difference**2, axis=1)[:, -1] > epsilon * epsilon).all())


def as_stored(store: Store, root: Path) -> Tree:
    """The same of a portion, as its store has it."""
    placed = []
    for _, rows, leaves in store.placed(root):
        brings = np.ones(len(rows), np.bool_) if rows.changes is None else rows.changes.brings
        placed.append((rows.plain.vectors, leaves[brings]))
    vectors = [v for v, _ in placed]
    leaf = np.concatenate([np.zeros(0, np.int32), *(at for _, at in placed)])
    out = {}
    for number, record, cover, aside in store.subtree(root):
        mine = leaf == number
        out[tuple(record["path"])] = {
            "state": record["state"],
            "limit": record["limit"],
            "holds": record["holds"],
            "cover": cover and first_of(cover, record).hash,
            "counts": {k: record["counts"][k] for k in ("rows", "distance", "radius")},
            "uncovered": record["counts"]["uncovered"],
            "held": np.concatenate(vectors)[mine].tolist() if vectors else [],
        }
        if "epsilon" in record:
            out[tuple(record["path"])]["aside"] = [] if aside is None else aside.rows.tolist()
        if record["state"] == life.SPLITTING:
            assert cover is not None
            assert aside is not None
            out[tuple(record["path"])] |= {
                "prototypes": cover.prototypes.tolist(), "aside": aside.rows.tolist(),
                "folded": record["folded"],
            }  # fmt: skip
    return out


def first_of(cover: Cover, record: Mapping[str, Any]) -> Cover:
    """The cover as it was at the split."""
    k = cover.k - sum(count for _, count in record["runs"])
    if k == cover.k and not record.get("holds"):
        return cover
    parts = [a[:k] for a in (cover.prototypes, cover.centroids, cover.weights, cover.radii)]
    return Cover(*parts, cover.epsilon, int(parts[2].sum()), cover.gap, 0.0, 0.0)


def gone_of(store: Store, root: Path) -> dict[Path, int]:
    """How many rows have left each node of a portion, counted from where they lie."""
    gone = store.gone(root)
    leaf = np.concatenate(
        [np.zeros(0, np.int32), *(at[gone.get(o, [])] for o, _, at in store.placed(root))]
    )
    paths = {number: tuple(record["path"]) for number, record, *_ in store.subtree(root)}
    below = [paths[number] for number in leaf.tolist()]
    return {path: sum(p[: len(path)] == path for p in below) for path in paths.values()}


def child_by_place(
    log: Routing, path: Path, source: Source, messages: Sequence[Message]
) -> dict[Origin, Path]:
    """The child of each row of a partition of a node's input, by the definition (R4), row by row: the
    nearest of the children that get rows in the last epoch above all others whose marker lies before it."""
    epochs, cover = log.reopened.epochs[path], log.covers[path]
    folded = log.reopened.folded.get(path, {})
    epoch = log.splits[path]
    found: dict[Origin, Path] = {}
    for message in messages:
        if message.pct_type == "marker":
            said = orjson.loads(message.value or b"")
            if said.get("history") == log.authors[0] and said["epoch"] in epochs:
                epoch = max(epoch, said["epoch"])
            continue
        at = message.offset
        if path == ROOT:
            rows = ingest.decode(source, [message], at - 1, at, log.dimension, log.metric).rows
        else:
            rows = ingest.decode_pipe(source, [message], at - 1, at).rows
        for origin, row in (
            ()
            if rows is None
            else zip(rows.plain.origins(), rows.plain.vectors.astype(float), strict=True)
        ):
            away = ((cover.centroids[: epochs[epoch]].astype(float) - row) ** 2).sum(axis=1)
            away[[child for child, since in folded.items() if since <= epoch]] = np.inf
            found.setdefault(origin, (*path, int(away.argmin())))
    return found


def fading_of(store: Store, root: Path) -> dict[Path, dict[int, int]]:
    """Of each node the rows that fade there, by step, as the store tells."""
    nodes = [record for _, record, *_ in store.subtree(root)]
    clock = nodes[0]["clock"] if nodes else fading.NEVER
    return {
        tuple(r["path"]): {
            int(step): rows for step, rows in r["fading"].items()
            if clock - fading.KEPT < int(step)
        }
        for r in nodes
    }  # fmt: skip


def faded_of(store: Store, root: Path, half_life_s: float, came: Any) -> dict[Path, dict[int, int]]:
    """The same by the definition: of each row that lies there and has not left, its step, unless it is too
    old for the newest of all that ever ``came``, f64[n] in seconds."""
    newest = max((math.floor(t * fading.STEPS / half_life_s) for t in came.tolist()), default=0)
    gone = store.gone(root)
    paths = {number: tuple(record["path"]) for number, record, *_ in store.subtree(root)}
    found: dict[Path, Counter[int]] = {path: Counter() for path in paths.values()}
    for offset, rows, leaves in store.placed(root):
        for at, leaf in enumerate(leaves.tolist()):
            step = math.floor(fading.times_of(rows)[at] * fading.STEPS / half_life_s)
            if step > newest - fading.KEPT and at not in gone.get(offset, ()):
                found[paths[leaf]][step] += 1
    return {path: dict(steps) for path, steps in found.items()}
