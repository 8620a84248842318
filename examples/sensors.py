"""Drift of a real machine: river's Shuttle (sensors of a space shuttle), fed slowly, then otherwise.

Normal readings come at a steady rate; then all that is anomalous comes in a row, ever faster. The
portions of the tree that lie there see their rate rise: their drift scores and forecasts are printed as
they change. The tree must be new, or one of as many dimensions:

    PCT_DRIFT__WINDOW_S=1 pctstream up --data-dir ./shuttle &
    python examples/sensors.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from river.datasets import Shuttle

from pctstream.client import Client, Drift, Producer


def readings(dimensions: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """So many readings, and which of them are anomalous; each number in units of its deviation."""
    taken = [(list(x.values()), y) for x, y in Shuttle().take(rows)]
    values = np.array([x for x, _ in taken], np.float64)
    spread = np.subtract(*np.percentile(values, [90, 10], axis=0)) + 1e-9
    scaled = np.clip((values - np.median(values, axis=0)) / spread, -8, 8)
    return scaled[:, :dimensions].astype(np.float32), np.array([bool(y) for _, y in taken])


def shown(drifts: Sequence[Drift]) -> str:
    """The three portions whose rate is about to change most."""
    known = sorted((d for d in drifts if d.score is not None), key=lambda d: -(d.score or 0.0))
    return "; ".join(
        f"{d.portion} score {d.score:.1f}, {d.parts['level_now']:.0f} -> "
        f"{d.parts['level_then']:.0f} rows/s ({d.model})" for d in known[:3]
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", default="http://127.0.0.1:8800")
    parser.add_argument("--broker", default="127.0.0.1:9092")
    parser.add_argument("--tree", default="pct")
    parser.add_argument("--dimensions", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=40)
    given = parser.parse_args()

    rows, anomalous = readings(given.dimensions, 20_000)
    normal, other = rows[~anomalous], rows[anomalous]
    with Client(given.http) as tree, Producer(given.broker, given.tree) as producer:
        for i, row in enumerate(normal[:5000]):
            producer.add(row, id=f"shuttle-{i}")
        producer.flush(wait="applied", tree=tree)
        sent, highest = 5000, 0.0
        for second in range(given.seconds):
            ends = time.monotonic() + 1.0
            late = second >= given.seconds // 2
            ramp = 40 * (second - given.seconds // 2 + 1) if late else 0
            for row in [*normal[sent : sent + 100], *other[np.arange(ramp) % len(other)]]:
                producer.add(row, id=f"shuttle-{sent}")
                sent += 1
            producer.flush()
            drifts = tree.drifts()
            highest = max([highest, *(d.score or 0.0 for d in drifts)])
            print(f"{100 + ramp:5d} rows/s  {shown(drifts)}")
            time.sleep(max(0.0, ends - time.monotonic()))
    print(
        f"{sent} readings, {len(other)} anomalies came ever faster; highest drift score {highest:.1f}"
    )


if __name__ == "__main__":
    main()
