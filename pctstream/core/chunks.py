"""A density as records: its windows in chunks, so that a message stays small and is told again cheaply.

A chunk holds up to `CHUNK` windows that follow each other; its record is absolute: whoever has it needs no
earlier one of the same chunk. A series is as many chunks as it is long, and then they are used again, in
turn, so what is kept of it is bounded for good. Each record also says how things stood behind its last
window; that of the latest one is where somebody else goes on (`joined`).

Windows are float32 columns in base64: of 1,000 portions an hour is 20 MB at every worker, as numbers of
JSON it would be 200.

>>> density = Density(5.0)
>>> for t in range(400): _ = density.tell(t + 1.0, Counters(10 * t, 640 * t, 5.0 * t, 5 * t))
>>> records = chunks("N0,3", density, since=0)
>>> [(r["chunk"], r["first"], r["offset"]) for r in records], len(records[0]["windows"])
([(0, 1, 60), (1, 60, 80)], 1576)
>>> joined(records, 5.0).windows[-1] == density.windows[-1]
True
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pctstream.core.density import LENGTH, Counters, Density, Window

CHUNK = 60
"""Windows of a record."""
FIELDS = len(Window._fields) - 1

Record = Mapping[str, Any]


def chunks(node: str, density: Density, since: int, length: int = LENGTH) -> list[dict[str, Any]]:
    """The records of all chunks that hold window ``since`` or a later one."""
    head = density.head()
    found: dict[int, list[Window]] = {}
    for window in reversed(density.windows):
        if window.number // CHUNK < since // CHUNK:
            break
        found.setdefault(window.number // CHUNK, []).insert(0, window)
    slots = length // CHUNK + 1
    return [
        {
            "kind": "density", "node": node, "chunk": number % slots, "first": held[0].number,
            "offset": held[-1].number + 1, "window_s": density.window_s, "at": head["at"],
            "counters": head["counters"], "open": head["open"], "windows": _packed(held),
        }
        for number, held in sorted(found.items())
    ]  # fmt: skip


def joined(records: Iterable[Record], window_s: float, length: int = LENGTH) -> Density | None:
    """The density that these records of one node tell of; None if there are none of such windows."""
    mine = [r for r in records if r["window_s"] == window_s]
    if not mine:
        return None
    last = max(mine, key=lambda r: int(r["offset"]))
    held = {w.number: w for record in mine for w in windows_of(record)}
    number = int(last["offset"])
    series: list[Window] = []
    while (window := held.get(number - 1 - len(series))) is not None:
        series.append(window)
    saved = {
        "window_s": window_s, "at": last["at"], "counters": Counters(*last["counters"]),
        "next": number, "open": last["open"], "windows": [list(w[1:]) for w in reversed(series)],
    }  # fmt: skip
    return Density.from_json(saved, length)


def windows_of(record: Record) -> list[Window]:
    """The windows of a chunk."""
    table = np.frombuffer(base64.b64decode(record["windows"]), "<f4").reshape(-1, FIELDS)
    return [
        Window(int(record["first"]) + i, rows, size, _known(mean), _known(beyond), int(spread))
        for i, (rows, size, mean, beyond, spread) in enumerate(table.tolist())
    ]


def _packed(windows: list[Window]) -> str:
    table = [[math.nan if v is None else v for v in w[1:]] for w in windows]
    return base64.b64encode(np.array(table, "<f4").tobytes()).decode()


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
