"""The demo's data: every 8 x 8 patch of the two photographs that ship inside scikit-learn.

`china.jpg` by danielbuechele, flickr.com/photos/danielbuechele/6061409035, and `flower.jpg`,
flickr.com/photos/vultilion/6056698931, both CC BY 2.0 (creativecommons.org/licenses/by/2.0). The
README.txt beside them names danielbuechele for both, but its link for the flower is vultilion's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pctstream.errors import UsageError

SIZE = 8
NAMES = ("china", "flower")
CREDITS = {
    "china": "china.jpg by danielbuechele (flickr), CC BY 2.0, from scikit-learn",
    "flower": "flower.jpg by vultilion (flickr), CC BY 2.0, from scikit-learn",
}

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]


def photograph(name: str) -> Bytes:
    """One of the photographs, uint8 [427, 640, 3]; UsageError without the extra `demo`."""
    try:
        from sklearn.datasets import load_sample_images

        return np.asarray(load_sample_images().images[NAMES.index(name)], np.uint8)
    except ImportError as error:
        raise UsageError(f"{error}: pip install 'pctstream[demo]'") from None


def patches(image: Bytes, size: int = SIZE) -> tuple[Bytes, Ints, Ints]:
    """Every patch of an image [h, w, 3]: uint8 [n, size * size * 3], and where it begins, x and y.

    >>> vectors, x, y = patches(np.arange(27, dtype=np.uint8).reshape(3, 3, 3), 2)
    >>> vectors.shape, vectors[1].tolist(), (int(x[1]), int(y[1]))
    ((4, 12), [3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 16, 17], (1, 0))
    """
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))
    rows, columns = windows.shape[:2]
    # [y, x, colour, dy, dx] -> [y, x, dy, dx, colour]
    vectors = np.ascontiguousarray(windows.transpose(0, 1, 3, 4, 2)).reshape(rows * columns, -1)
    y, x = np.divmod(np.arange(rows * columns, dtype=np.int32), np.int32(columns))
    return vectors, x, y


def pixels(vector: npt.ArrayLike, size: int = SIZE) -> Bytes:
    """The picture u8[size, size, 3] of numbers f[size * size * 3] from 0 to 1, as `patches` lays it."""
    values = np.asarray(vector, np.float64).reshape(size, size, 3)
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)


def shuffled(name: str, seed: int) -> dict[str, npt.NDArray[Any]]:
    """The patches of a photograph in a shuffled order, as arrays by column: X, id, x, y, image."""
    vectors, x, y = patches(photograph(name))
    order = np.random.default_rng(seed).permutation(len(vectors))
    x, y = x[order], y[order]
    return {
        "X": vectors[order],
        "id": np.char.add(
            np.char.add(f"{name}-", x.astype("U4")), np.char.add("-", y.astype("U4"))
        ),
        "x": x,
        "y": y,
        "image": np.full(len(x), name),
    }


def write(path: Path, name: str, seed: int) -> int:
    """Those columns as .npz; how many rows they have."""
    columns = shuffled(name, seed)
    np.savez(path, **columns)  # type: ignore[arg-type]
    return len(columns["id"])
