"""Draws cover.svg: rows in the order they come, the prototypes that the epsilon rule keeps, their balls."""

from __future__ import annotations

from pathlib import Path

import numpy as np

EPSILON, ROWS, SIDE = 1.1, 700, 10.0
SCALE, EDGE = 56.0, 30.0


def stream() -> np.ndarray:
    """Rows in five heaps of different widths, in the order in which they come."""
    rng = np.random.default_rng(4)
    heaps = np.array([[2.2, 7.4], [7.6, 7.8], [5.2, 4.6], [2.0, 2.2], [8.2, 2.4]])
    which = rng.integers(0, len(heaps), ROWS)
    rows = heaps[which] + rng.normal(0, 1, (ROWS, 2)) * np.linspace(0.35, 0.9, 5)[which, None]
    return np.clip(rows, 0.1, SIDE - 0.1)


def prototypes(rows: np.ndarray) -> np.ndarray:
    """Each row that is farther than epsilon from all before it that were kept."""
    kept: list[np.ndarray] = []
    for row in rows:
        if all(np.linalg.norm(row - other) > EPSILON for other in kept):
            kept.append(row)
    return np.array(kept)


def drawn() -> str:
    rows = stream()
    kept = prototypes(rows)

    def at(point: np.ndarray) -> str:
        x, y = EDGE + point[0] * SCALE, EDGE + (SIDE - point[1]) * SCALE
        return f'cx="{x:.1f}" cy="{y:.1f}"'

    size = 2 * EDGE + SIDE * SCALE
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size:.0f} {size:.0f}" width="480">',
           f'<title>{len(rows)} rows, {len(kept)} prototypes at epsilon {EPSILON}</title>',
           f'<rect width="{size:.0f}" height="{size:.0f}" fill="#fbfbf8"/>']  # fmt: skip
    out += [f'<circle {at(k)} r="{EPSILON * SCALE:.1f}" fill="#2b6cb0" fill-opacity="0.07" '
            'stroke="#2b6cb0" stroke-opacity="0.5"/>' for k in kept]  # fmt: skip
    out += [f'<circle {at(row)} r="2" fill="#555" fill-opacity="0.55"/>' for row in rows]
    out += [f'<circle {at(k)} r="5" fill="#c05621"/>' for k in kept]
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "cover.svg").write_text(drawn(), encoding="utf-8")
