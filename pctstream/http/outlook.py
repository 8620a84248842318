"""What comes to each shard: the rate of its portions, window by window, and what is forecast for them.

The past of a shard is that of the portions it owns now, so a portion that moves takes its own along. Its
band is the sum of its portions' bands: as if all forecasts were wrong in the same direction, which is
what happens when the stream as a whole changes. A portion without a forecast is named, not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Response

from pctstream.core.chunks import windows_of
from pctstream.core.layout import Layout, PortionLoad
from pctstream.core.situation import Situation
from pctstream.http.body import answered
from pctstream.tables import Record

WINDOWS = 60
"""Of the past."""


def rates(chunks: Iterable[Record], window_s: float, last: int) -> dict[int, float]:
    """Window number -> rows a second of one portion, of its last windows."""
    newest = sorted((c for c in chunks if c["window_s"] == window_s), key=lambda c: -c["offset"])
    end = int(newest[0]["offset"]) if newest else 0
    return {
        w.number: w.rows / window_s
        for chunk in newest
        if int(chunk["offset"]) > end - last
        for w in windows_of(chunk)
        if w.number >= end - last
    }


def room(now: Situation) -> dict[int, float]:
    """The rows a second that are a relative load of 1 of each shard; empty before there are portions."""
    if not now.rooms or not now.portions:
        return {}
    parts = [PortionLoad(p.path, p.owner, p.load, p.load) for p in now.portions]
    layout = Layout.of(parts, now.rooms, full=now.full)
    return {room.shard: float(x) for room, x in zip(layout.shards, layout.share, strict=True)}


def outlook(
    owned: Mapping[int, list[str]], density: Mapping[str, list[Record]],
    drift: Mapping[str, Record], window_s: float, windows: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Shard by shard: `past` and `forecast` in rows a second, times in seconds."""
    found = []
    for shard, names in sorted(owned.items()):
        past: dict[int, float] = {}
        ahead: dict[float, list[float]] = {}
        told = [drift[name] for name in names if name in drift]
        newest = max((float(d["time"]) for d in told), default=0.0)
        fresh = [d for d in told if float(d["time"]) >= newest - window_s / 2]
        for name in names:
            for number, rate in rates(density.get(name, ()), window_s, windows).items():
                past[number] = past.get(number, 0.0) + rate
        for record in fresh:
            for point in record["forecast"]:
                sums = ahead.setdefault(float(point["t"]), [0.0] * 3)
                for i, key in enumerate(("rows_s", "low", "high")):
                    sums[i] += float(point[key])
        silent = sorted(set(names) - {str(d["portion"]) for d in fresh})
        series = sorted(past.items())[-windows:]
        found.append({
            "shard": shard,
            "past": [{"t": n * window_s, "rows_s": rate} for n, rate in series],
            "forecast": [dict(zip(("t", "rows_s", "low", "high"), (t, *s), strict=True))
                         for t, s in sorted(ahead.items())],
            "without_forecast": silent,
        })  # fmt: skip
    return found


def add(
    app: FastAPI, window_s: float, situation: Callable[[], Situation],
    owned: Callable[[], Mapping[int, list[str]]], records: Callable[[str], list[Record]],
    as_of: Callable[[], dict[str, Any]],
) -> None:  # fmt: skip
    """The route; ``records``: the last ones of a kind."""

    @app.get("/v1/outlook")
    def of(windows: int = WINDOWS) -> Response:
        """What came to each shard, window by window, and the forecast with its band."""
        now, mine, most = situation(), owned(), max(1, min(windows, 10 * WINDOWS))
        density: dict[str, list[Record]] = {n: [] for names in mine.values() for n in names}
        for record in records("density"):
            if record["node"] in density:
                density[record["node"]].append(record)
        drift = {str(r["portion"]): r for r in records("drift")}
        shards, full = outlook(mine, density, drift, window_s, most), room(now)
        shown = [one | {"full_rows_s": full.get(one["shard"])} for one in shards]
        return answered({"window_s": window_s, "capacity_known": now.full > 0.0, "shards": shown,
                         "as_of": as_of()})  # fmt: skip
