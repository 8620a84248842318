"""Events on a map: where they crowd, in a box, nearest to a place.

Ten thousand made-up events around some cities go into a running tree whose spatial index is on. The row
is where the event was; what it was is its payload. The tree must be new, or one of two dimensions:

    PCT_SPATIAL__ENABLED=true PCT_SPATIAL__X=dim:0 PCT_SPATIAL__Y=dim:1 \\
      pctstream up --data-dir ./events &
    python examples/events.py
"""

from __future__ import annotations

import argparse

import httpx
import numpy as np

from pctstream.client import Client, Producer

CITIES = {"Hamburg": (10.0, 53.55), "Lisboa": (-9.14, 38.72), "Oslo": (10.75, 59.91),
          "Roma": (12.5, 41.9), "Paris": (2.35, 48.86)}  # fmt: skip
EVENTS = 10_000
SHADES = " .:-=+*#%@"


def drawn(counts: np.ndarray) -> str:
    """The density as text, north at the top: the darker, the more, on a scale of powers."""
    level = np.log1p(counts) / np.log1p(max(1, counts.max()))
    shades = (level * (len(SHADES) - 1)).round().astype(int)
    return "\n".join("".join(SHADES[s] for s in line) for line in shades.T[::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", default="http://127.0.0.1:8800")
    parser.add_argument("--broker", default="127.0.0.1:9092")
    parser.add_argument("--tree", default="pct")
    given = parser.parse_args()

    rng = np.random.default_rng(0)
    names = list(CITIES)
    with Client(given.http) as tree, Producer(given.broker, given.tree) as producer:
        for i in range(EVENTS):
            city = names[int(rng.integers(len(names)))]
            place = rng.normal(CITIES[city], rng.choice([0.1, 1.0]))
            payload = {"city": city, "size": float(rng.exponential(2.0))}
            producer.add(place, id=f"event-{i}", payload=payload)
        producer.flush(wait="applied", tree=tree)
    with httpx.Client(base_url=given.http, timeout=10.0) as http:
        density = (
            http.get("/v1/spatial/density", params={"cells": "64,32"}).raise_for_status().json()
        )
        x, y = CITIES["Oslo"]
        box = {"box": [x - 0.2, y - 0.2, x + 0.2, y + 0.2], "limit": 10_000}
        inside = http.post("/v1/spatial/search", json=box).raise_for_status().json()
        near = (
            http.post("/v1/spatial/search", json={"point": [x, y], "k": 3})
            .raise_for_status()
            .json()
        )
    print(drawn(np.array(density["counts"])))
    print(f"{len(inside['results'])} events around Oslo; the nearest: "
          f"{', '.join(hit['id'] for hit in near['results'])}")  # fmt: skip


if __name__ == "__main__":
    main()
