"""The plane of a cover against the decomposition it is defined by."""

from __future__ import annotations

import numpy as np
import pytest

from pctstream.core.projection import Plane


@pytest.mark.parametrize(("n", "d"), [(40, 5), (5, 40), (7, 7), (300, 128), (2, 3)])
def test_it_is_the_weighted_principal_plane(n: int, d: int) -> None:
    rng = np.random.default_rng(n * 1000 + d)
    x = (rng.normal(size=(n, d)) * np.linspace(5, 0.1, d)).astype(np.float32)
    w = rng.random(n)
    plane = Plane.of(x, w)
    w /= w.sum()
    centred = (x - w @ x) * np.sqrt(w)[:, None]
    _, s, axes = np.linalg.svd(centred, full_matrices=False)
    share = s[:2] ** 2 / (s**2).sum()
    assert np.allclose(plane.explained, share, atol=1e-9)
    for i in range(min(2, n - 1)):
        assert abs(plane.axes[i] @ axes[i]) > 1 - 1e-6
        assert plane.axes[i][np.argmax(np.abs(plane.axes[i]))] > 0
    assert np.allclose(plane.axes @ plane.axes.T, np.diag((plane.axes**2).sum(axis=1)), atol=1e-9)
    apart = np.linalg.norm(x[:, None].astype(np.float64) - x[None], axis=2)
    seen = np.linalg.norm(plane.at(x)[:, None] - plane.at(x)[None], axis=2)
    assert (seen <= apart + 1e-6).all(), "a picture brings nothing farther apart"


def test_centres_that_do_not_differ_lie_at_the_origin() -> None:
    x = np.ones((3, 4), np.float32)
    plane = Plane.of(x, np.zeros(3))
    assert plane.explained == (0.0, 0.0) and not plane.at(x).any()
    line = Plane.of(np.array([[0, 1], [2, 1]], np.float32), np.ones(2))
    assert line.explained == (1.0, 0.0) and line.at(np.array([[3, 1]], np.float32)).tolist() == [
        [2, 0]
    ]
