"""A cover seen from where it is widest: weighted principal components, two of them.

The plane is the one in which the weighted squared distances from the mean are greatest. It depends on
the centres and on the weights at the time it was chosen; a `Plane` is kept while the centres stay the
same, so that a picture does not turn while weights change. A component's sign is arbitrary: the
coordinate that weighs most in it counts as positive.

>>> x = np.array([[0, 0, 5], [4, 0, 5], [8, 1, 5]], np.float32)
>>> plane = Plane.of(x, np.array([0.25, 0.5, 0.25]))
>>> np.round(plane.at(x), 3).tolist(), round(sum(plane.explained), 6)
([[-4.0, 0.252], [-0.031, -0.248], [4.062, 0.244]], 1.0)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pctstream.core.kernels import Float32, Float64


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Two directions through a mean."""

    mean: Float64
    """f64[d]"""
    axes: Float64
    """f64[2, d]: orthonormal; a row of zeros where the centres do not differ in that many directions."""
    explained: tuple[float, float]
    """The share of the weighted squared distances from the mean that lies along each."""

    @classmethod
    def of(cls, x: Float32, w: Float64) -> Plane:
        """Of centres f32[n, d], n >= 1, and their weights f64[n]; all alike if those sum to 0.

        The smaller of n and d decides what it takes: their Gram matrix, or their covariance.
        """
        points = x.astype(np.float64)
        weight = w / w.sum() if w.sum() > 0.0 else np.full(len(x), 1.0 / len(x))
        mean = weight @ points
        scaled = (points - mean) * np.sqrt(weight)[:, None]
        n, d = scaled.shape
        values, vectors = np.linalg.eigh(scaled.T @ scaled if d <= n else scaled @ scaled.T)
        axes, explained, total = np.zeros((2, d)), [0.0, 0.0], float((scaled * scaled).sum())
        for i in range(min(2, len(values))):
            value, axis = float(values[-1 - i]), vectors[:, -1 - i]
            if value <= 1e-12 * total or total <= 0.0:
                continue  # nothing but rounding lies in that direction
            axis = axis if d <= n else scaled.T @ axis
            axis = axis / np.sqrt(axis @ axis)
            axes[i] = axis if axis[np.argmax(np.abs(axis))] > 0.0 else -axis
            explained[i] = value / total
        return cls(mean, axes, (explained[0], explained[1]))

    def at(self, x: Float32) -> Float64:
        """f64[n, 2]: where centres lie in the plane, in units of the vectors."""
        return np.asarray((x.astype(np.float64) - self.mean) @ self.axes.T)
