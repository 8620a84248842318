"""Nearest neighbours of handwritten digits: scikit-learn's 1,797 pictures as embeddings of a few numbers.

The embedding is their principal components, by numpy. Nine of ten pictures go into a running tree with
their digit as payload; the others are looked up, and what their five nearest say is compared with what
they are. The tree must be new, or one of as many dimensions:

    pctstream up --data-dir ./digits &
    python examples/embeddings.py
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
from sklearn.datasets import load_digits

from pctstream.client import Client, Producer


def embedded(pictures: np.ndarray, dimensions: int) -> np.ndarray:
    """The first principal components of the pictures, as rows."""
    centred = pictures - pictures.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    found: np.ndarray = (centred @ axes[:dimensions].T).astype(np.float32)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", default="http://127.0.0.1:8800")
    parser.add_argument("--broker", default="127.0.0.1:9092")
    parser.add_argument("--tree", default="pct")
    parser.add_argument("--dimensions", type=int, default=16)
    given = parser.parse_args()

    digits = load_digits()
    rows = embedded(digits.data, given.dimensions)
    asked = np.arange(len(rows)) % 10 == 0
    with Client(given.http) as tree, Producer(given.broker, given.tree) as producer:
        for i in np.flatnonzero(~asked):
            payload = {"digit": int(digits.target[i])}
            producer.add(rows[i], id=f"digit-{i}", payload=payload)
        producer.flush(wait="applied", tree=tree)
        found = []
        for batch in np.array_split(np.flatnonzero(asked), 4):
            found += tree.search_many(
                rows[batch], k=5, filter={"digit": {"exists": True}}, include=["payload"]
            )
    votes = [
        Counter(p["digit"] for p in hits.payloads or []).most_common(1)[0][0] for hits in found
    ]
    right = float(np.mean(np.array(votes) == digits.target[asked]))
    exact = sum(hits.exact for hits in found)
    print(f"{int((~asked).sum())} pictures as {given.dimensions} numbers each, {len(votes)} looked up, "
          f"{exact} answers exact: {right:.1%} are what their five nearest say")  # fmt: skip


if __name__ == "__main__":
    main()
