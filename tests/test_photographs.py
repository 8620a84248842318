"""The demo's rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pctstream import photographs
from pctstream.core import given
from pctstream.core.given import Row
from pctstream.files import Choice, open_rows


def test_a_patch_is_what_lies_at_its_place() -> None:
    image = np.random.default_rng(0).integers(0, 256, (11, 13, 3)).astype(np.uint8)
    vectors, x, y = photographs.patches(image, 4)
    assert len(vectors) == (11 - 3) * (13 - 3)
    assert len({(int(a), int(b)) for a, b in zip(x, y, strict=True)}) == len(vectors)
    for vector, left, top in zip(vectors, x, y, strict=True):
        assert vector.tolist() == image[top : top + 4, left : left + 4].reshape(-1).tolist()


@pytest.mark.parametrize("name", photographs.NAMES)
def test_every_patch_of_a_photograph_once_in_a_seeded_order(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.npz"
    assert photographs.write(path, name, 7) == 265_860
    choice = Choice(ids="id", payload=("x", "y", "image"), scale=1 / 255)
    image = photographs.photograph(name)
    first = next(iter(open_rows(path, choice).pieces(0, 100)))
    assert not isinstance(first, Row)
    for row in given.rows_of(first):
        assert row.payload is not None
        x, y = row.payload["x"], row.payload["y"]
        assert (row.id, row.payload["image"]) == (f"{name}-{x}-{y}", name)
        wanted = image[y : y + 8, x : x + 8].reshape(-1).astype(np.float32) * np.float32(1 / 255)
        np.testing.assert_array_equal(row.vector, wanted)
    ids = np.load(path)["id"]
    assert len(np.unique(ids)) == 265_860
    photographs.write(tmp_path / "again.npz", name, 7)
    np.testing.assert_array_equal(np.load(tmp_path / "again.npz")["id"], ids)
