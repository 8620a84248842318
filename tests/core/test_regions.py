"""Regions share out the plane, whatever was cut, joined, turned or grown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core.regions import Regions, area


def where(regions: Regions, x: float, y: float) -> int:
    """The region of a position, by the cuts."""
    nodes, node = regions.nodes, regions.root
    while nodes.axis[node] >= 0:
        node = int(nodes.child[node, int((x, y)[nodes.axis[node]] >= nodes.at[node])])
    return node


def quarters(box: list[float]) -> Any:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return (0, x, (1, y, None, None), (1, y, None, None))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("qkjjg"), st.integers(0, 2**30)), max_size=40))
def test_boxes_are_disjoint_and_fill_the_whole(steps: list[tuple[str, int]]) -> None:
    regions = Regions((0.0, 0.0, 3.0, 1.0))
    stored = {key: value for key, value in regions.changes().items() if value is not None}
    for what, number in steps:
        leaves = regions.leaves()
        node = int(leaves[number % len(leaves)])
        box, rng = regions.nodes.box[node].tolist(), np.random.default_rng(number)
        if what == "q":
            regions.cut(node, quarters(box))
        elif what == "k":
            axis = number % 2
            regions.cut(node, (axis, box[axis] + (box[axis + 2] - box[axis]) * 0.3, None, None))
        elif what == "j" and (partners := regions.partners(node)):
            both = regions.nodes.box[[node, partners[-1]]]
            joined = regions.nodes.box[regions.join(node, partners[-1])]
            assert joined.tolist() == [*both[:, :2].min(axis=0), *both[:, 2:].max(axis=0)]
        elif what == "g":
            low = rng.uniform(-9, 9, 2)
            regions.reach(tuple(low), tuple(low))
        for key, value in regions.changes().items():
            stored.pop(key, None)
            if value is not None:
                stored[key] = value
    box = regions.nodes.box
    assert np.isclose(area(box[regions.leaves()]), area(box[[regions.root]]), rtol=1e-12)
    x0, y0, x1, y1 = box[regions.root].tolist()
    again = Regions.from_entries(stored)
    for x, y in np.random.default_rng(0).uniform((x0, y0), (x1, y1), (50, 2)):
        a = box[where(regions, x, y)].tolist()
        assert a[0] <= x < a[2] and a[1] <= y < a[3]
        assert again.nodes.box[where(again, x, y)].tolist() == a
        inside = (box[:, 0] <= x) & (x < box[:, 2]) & (box[:, 1] <= y) & (y < box[:, 3])
        assert inside[regions.leaves()].sum() == 1
    assert len(again) == len(regions) and again.changes() == {}
    names = [regions.name(node) for node in regions.leaves().tolist()]
    assert len(set(names)) == len(names)
    assert sorted(names) == sorted(again.name(node) for node in again.leaves().tolist())


def test_each_quarter_has_two_partners() -> None:
    regions = Regions((0.0, 0.0, 2.0, 2.0))
    regions.cut(regions.root, quarters([0.0, 0.0, 2.0, 2.0]))
    box = regions.nodes.box
    for node in regions.leaves().tolist():
        partners = regions.partners(node)
        assert len(partners) == 2
        for other in partners:
            assert (box[node] == box[other]).sum() == 2, "they share a side"


def test_entries_that_are_no_whole_tree_are_refused() -> None:
    regions = Regions((0.0, 0.0, 2.0, 2.0))
    regions.cut(regions.root, quarters([0.0, 0.0, 2.0, 2.0]))
    entries = {k: v for k, v in regions.changes().items() if v is not None}
    entries.pop(max(entries))
    with pytest.raises(ValueError, match="not one whole tree"):
        Regions.from_entries(entries)
    with pytest.raises(ValueError, match="not one whole tree"):
        Regions.from_entries({})
