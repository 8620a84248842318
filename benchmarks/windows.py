"""shapely's STRtree and rtree on the points and windows of `spatial.py`; run in `.venv-bench`.

No pctstream here. Arguments: strtree|rtree, and an .npz with `points` f64[n, 2] and `windows` f64[m, 4].
For each line on standard input it builds or asks, as the line says, and answers one line: seconds of CPU,
and the number of hits of all windows. rtree is bulk-loaded, as its documentation advises.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any


def strtree(points: Any, windows: Any) -> Callable[[], int]:
    """Built; asks all windows for how many hits."""
    import shapely

    boxes = list(shapely.box(*windows.T))
    tree = shapely.STRtree(shapely.points(points))
    tree.query(boxes[0])  # the first question builds it
    return lambda: sum(len(tree.query(box)) for box in boxes)


def rtree(points: Any, windows: Any) -> Callable[[], int]:
    """The same of libspatialindex."""
    from rtree.index import Index

    tree = Index(((i, (x, y, x, y), None) for i, (x, y) in enumerate(points.tolist())))
    boxes = windows.tolist()
    return lambda: sum(len(list(tree.intersection(box))) for box in boxes)


def main() -> None:
    import numpy as np

    build = {"strtree": strtree, "rtree": rtree}[sys.argv[1]]
    with np.load(sys.argv[2], allow_pickle=False) as arrays:
        points, windows = arrays["points"], arrays["windows"]
    ask = None
    for line in sys.stdin:
        began, hits = time.process_time(), 0
        if line.strip() == "build" or ask is None:
            ask = build(points, windows)
        else:
            hits = ask()
        print(time.process_time() - began, hits, flush=True)


if __name__ == "__main__":
    main()
