"""shapely's STRtree on the points and windows of `spatial.py`; run in `.venv-bench`. No pctstream here.

Argument: an .npz with `points` f64[n, 2] and `windows` f64[m, 4]. For each line on standard input it builds
or asks, as the line says, and answers one line: seconds of CPU, and the number of hits of all windows.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import shapely


def main() -> None:
    with np.load(sys.argv[1], allow_pickle=False) as arrays:
        points, windows = arrays["points"], arrays["windows"]
    boxes = list(shapely.box(*windows.T))
    tree = None
    for line in sys.stdin:
        began, hits = time.process_time(), 0
        if line.strip() == "build" or tree is None:
            tree = shapely.STRtree(shapely.points(points))
            tree.query(boxes[0])  # the first question builds it
        else:
            for box in boxes:
                hits += len(tree.query(box))
        print(time.process_time() - began, hits, flush=True)


if __name__ == "__main__":
    main()
