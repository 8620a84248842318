"""The cover of a level, against what its definition says one node at a time."""

from __future__ import annotations

import numpy as np
import pytest
from core.trees import grown

from pctstream.core.names import ROOT, Path
from pctstream.core.solver import NodeSummary, level_cover, place
from pctstream.errors import NotFound


def expected(nodes: dict[Path, NodeSummary], level: int) -> dict[Path, int]:
    """Rows of every entry, asked of each node by itself."""
    out = {}
    for path, node in nodes.items():
        children = [n for p, n in nodes.items() if p[:-1] == path]
        if len(path) - 1 == level or (len(path) - 1 < level and not children):
            out[path] = node.rows
        elif len(path) - 1 < level and node.rows > sum(n.rows for n in children):
            out[path] = node.rows - sum(n.rows for n in children)
    return out


@pytest.mark.parametrize("seed", range(60))
def test_every_row_is_behind_one_entry_at_every_level(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes = grown(rng, depth=1 + seed % 5, dimension=3)
    for level in range(7):
        cover = level_cover(nodes, level, 0.5)
        assert list(cover.paths) == sorted(cover.paths)
        assert dict(zip(cover.paths, cover.rows.tolist(), strict=True)) == expected(nodes, level)
        assert cover.total == nodes[ROOT].rows
        assert cover.w.sum() == pytest.approx(1.0 if cover.total else 0.0, abs=1e-6)
        assert cover.w == pytest.approx(cover.rows / max(1, cover.total))
        for i, path in enumerate(cover.paths):
            if path != ROOT:
                assert cover.x[i].tolist() == nodes[path].centroid.tolist()
                assert cover.radius[i] == nodes[path].radius


def test_the_root_stands_at_the_mean_of_its_children_and_its_ball_holds_theirs() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(0, 5, (7, 4)).astype(np.float32)
    rows, radii = rng.integers(0, 9, 7), rng.random(7)
    rows[2] = 0
    nodes = {ROOT: NodeSummary(ROOT, int(rows.sum()), None, None)}
    for i in range(7):
        nodes[0, i] = NodeSummary((0, i), int(rows[i]), float(radii[i]), x[i])
    cover = level_cover(nodes, 0)
    mean = (x.astype(np.float64) * rows[:, None]).sum(0) / rows.sum()
    assert cover.x[0] == pytest.approx(mean, rel=1e-6)
    away = np.sqrt(((x.astype(np.float64) - cover.x[0]) ** 2).sum(1)) + radii
    assert cover.radius[0] == pytest.approx(away[rows > 0].max())
    assert (away[rows > 0] <= cover.radius[0]).all()
    nodes[ROOT] = NodeSummary(ROOT, int(rows.sum()) + 1, None, None)
    assert np.isnan(level_cover(nodes, 0).radius[0]), "where the row held lies nobody knows"


def test_children_without_rows_are_entries_of_weight_0() -> None:
    nodes = {ROOT: NodeSummary(ROOT, 5, None, None)}
    for i in range(2):
        nodes[0, i] = NodeSummary((0, i), 0, 0.0, np.array([i, 0], np.float32))
    cover = level_cover(nodes, 1)
    assert (cover.paths, cover.w.tolist()) == ((ROOT, (0, 0), (0, 1)), [1.0, 0.0, 0.0])
    assert cover.x[0].tolist() == [0.5, 0.0]


def test_before_there_are_children_the_root_has_rows_but_no_centre() -> None:
    assert len(level_cover({}, 0)) == 0
    assert len(level_cover({ROOT: NodeSummary(ROOT, 0, None, None)}, 3)) == 0
    alone = {ROOT: NodeSummary(ROOT, 7, None, None)}
    for level in (0, 3):
        cover = level_cover(alone, level)
        assert (cover.paths, cover.w.tolist(), cover.placed.tolist()) == ((ROOT,), [1.0], [False])
    assert place(alone, ROOT) == (None, None)


def test_there_is_no_level_above_the_root() -> None:
    with pytest.raises(NotFound, match="no level -1") as caught:
        level_cover({}, -1)
    assert caught.value.status == 404
