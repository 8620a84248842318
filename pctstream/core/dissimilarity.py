"""How unlike the rows of a portion are to those of a shard it might move to.

Like rows together make balls and ranges that a search rules out at once. Three parts, each from 0
(the same) to 1, and the mean of those that are known of both sides:

    ranges     per feature, the portion's [low, high] against the hull of those on the shard: what
               they share less the gap between them, over the length of both together, from -1 (far
               apart) to 1 (equal), turned round; then the mean over the features
    centroids  the mean squared distance to the centroids on the shard, weighted by rows, over the
               mean squared distance between any two; as r / (1 + r)
    dimension  difference of the intrinsic dimensions over the larger

A shard is described by its portions as they are now, the portion in question left out by never
asking for its own shard. One without portions is neither like nor unlike: 0.5.
"""

from __future__ import annotations

import numpy as np

from pctstream.core.layout import Bool, Float64, Layout

NEUTRAL = 0.5


def dissimilarity(layout: Layout) -> Float64:
    """f64[P, S], of each portion to each shard; 0 for the shard that it is on."""
    shape = len(layout.portions), len(layout.shards)
    total, known = np.zeros(shape), np.zeros(shape)
    for part in (_ranges(layout), _centroids(layout), _dimension(layout)):
        is_known = np.isfinite(part)
        total += np.where(is_known, part, 0.0)
        known += is_known
    unlike = np.where(known > 0, total / np.maximum(known, 1.0), NEUTRAL)
    unlike[np.arange(shape[0]), layout.owner] = 0.0
    return unlike


def _unknown(layout: Layout) -> Float64:
    return np.full((len(layout.portions), len(layout.shards)), np.nan)


def _weights(layout: Layout, known: Bool) -> Float64:
    """f64[S, P], the rows of each portion at its shard, where the thing is known of it."""
    weights = np.zeros((len(layout.shards), len(layout.portions)))
    rows = np.array([max(1, p.rows) for p in layout.portions], np.float64)
    weights[layout.owner, np.arange(len(rows))] = np.where(known, rows, 0.0)
    return weights


def _ranges(layout: Layout) -> Float64:
    found = _unknown(layout)
    known = np.array([p.low is not None and p.high is not None for p in layout.portions], bool)
    if not known.any():
        return found
    ranges = [(p.low, p.high) for p in layout.portions if p.low is not None and p.high is not None]
    low, high = (np.stack(side) for side in zip(*ranges, strict=True))
    where = layout.owner[known]
    for s in range(len(layout.shards)):
        here = where == s
        if not here.any():
            continue
        hull_low, hull_high = low[here].min(axis=0), high[here].max(axis=0)
        both = np.maximum(high, hull_high) - np.minimum(low, hull_low)
        shared = np.minimum(high, hull_high) - np.maximum(low, hull_low)
        # two equal points: no length, and the same
        alike = np.divide(shared, both, out=np.ones_like(both), where=both > 0.0)
        found[known, s] = (1.0 - alike.mean(axis=1, dtype=np.float64)) / 2.0
    return found


def _centroids(layout: Layout) -> Float64:
    found = _unknown(layout)
    known = np.array([p.centroid is not None for p in layout.portions], bool)
    if not known.any():
        return found
    points = np.stack([p.centroid for p in layout.portions if p.centroid is not None])
    points = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    squares = np.einsum("ij,ij->i", points, points)
    weights = _weights(layout, known)[:, known]
    some = weights.any(axis=1)
    weights = weights[some] / weights[some].sum(axis=1, keepdims=True)
    # the mean of |x - c|^2 over the c of a shard is |x|^2 - 2 x . (mean c) + mean |c|^2
    squared = squares[:, None] - 2.0 * points @ (weights @ points).T + weights @ squares
    spread = 2.0 * float(squares.mean())
    ratio = np.maximum(squared, 0.0) / spread if spread > 0.0 else np.zeros_like(squared)
    found[np.ix_(known, some)] = ratio / (1.0 + ratio)
    return found


def _dimension(layout: Layout) -> Float64:
    found = _unknown(layout)
    known = np.array([p.intrinsic is not None for p in layout.portions], bool)
    values = np.array([p.intrinsic or 0.0 for p in layout.portions])
    weights = _weights(layout, known)
    for s in np.flatnonzero(weights.any(axis=1)):
        mean = float(weights[s] @ values / weights[s].sum())
        larger = np.maximum(np.maximum(values[known], mean), 1e-12)
        found[known, s] = np.abs(values[known] - mean) / larger
    return found
