"""The stream drifts from one photograph to another, and a portion moves before its shard is too full.

Nobody asks for that move: the forecasts do. What is watched is written down as it is seen, so that in the
end it can be said what was foreseen, what came, and which was first: the move or the tolerance line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pctstream.demo.stream import Stream
from pctstream.demo.telling import say, title
from pctstream.running import Running
from pctstream.settings import DriftSettings

MIX_S = 40.0
AFTER_S = 40.0
"""How long the stream goes on at most once all of it is new."""
CALM_S = 60.0
LOOK_S = 0.5
LINE_S = 3.0
WINDOWS = 14
"""Scored windows of the heaviest portions before the drift begins: 12 is when forecasts count."""
HEAVIEST = 4
SHOWN = 12
"""Lines of the table of forecasts."""
BARS = "▁▂▃▄▅▆▇█"

Answer = Mapping[str, Any]


class Drifting:
    """From a calm stream to the move. No shard is to have more than ``drift.tolerance`` of its share
    for two windows in a row."""

    def __init__(self, system: Running, stream: Stream, drift: DriftSettings) -> None:
        self._system, self._stream = system, stream
        self._threshold, self._line = drift.threshold, drift.tolerance
        self._window_s = drift.window_s
        self._foreseen: dict[str, dict[float, tuple[float, float, float]]] = {}
        self._loads: list[tuple[float, dict[int, float]]] = []
        self._told = self._began = 0.0
        self.moves: list[dict[str, Any]] = []
        """Those that the policy made, when they had ended."""

    def play(self, check: Callable[[], None]) -> list[str]:
        """Mix, watch, and say what was wrong; ``check`` raises when the stream has failed."""
        self._calm(check)
        title(f"drift: over {MIX_S:.0f} s the stream becomes another photograph's")
        self._before = self._shares()
        self._began, self._wall = time.monotonic(), time.time()
        self._stream.mix(MIX_S)
        plan = None
        while time.monotonic() - self._began < MIX_S + AFTER_S:
            time.sleep(LOOK_S)
            check()
            self._look()
            plan = plan or self._plan()
            if self._stream.share >= 1.0 and plan and any(equal(m) for m in self._made(plan)):
                break
        whole = self._system.ask(f"/v1/plans/{plan['id']}") if plan else None
        trigger = (whole or {}).get("decision", {}).get("trigger")
        self._table(trigger["portion"] if trigger else "")
        return self._wrong(plan, trigger)

    def _calm(self, check: Callable[[], None]) -> None:
        """Until the forecasts of the heaviest portions count, and none sees a change."""
        started = told = time.monotonic()
        say(f"the stream goes on until {WINDOWS} windows have forecasts and nothing is in sight")
        while (now := time.monotonic()) - started < CALM_S:
            time.sleep(LOOK_S)
            check()
            seen = [self._drift(name) for name in self._heaviest()]
            if seen and all(len(d["history"]) >= WINDOWS and d["score"] < self._threshold
                            for d in seen):  # fmt: skip
                return
            if now - told >= LINE_S:
                told = now
                say(f"... {now - started:.0f} s: " + ", ".join(
                    f"{d['portion']} {len(d['history'])} windows, score {d['score']:.1f}"
                    for d in seen))  # fmt: skip

    def _heaviest(self) -> list[str]:
        rates = self._shares()
        return sorted(rates, key=lambda name: -rates[name])[:HEAVIEST]

    def _shares(self) -> dict[str, float]:
        """The part of all rows/s of each portion, now."""
        portions = (self._system.ask("/v1/portions") or {"portions": []})["portions"]
        total = sum(p["rate"] for p in portions) or 1.0
        return {p["portion"]: p["rate"] / total for p in portions}

    def _drift(self, name: str) -> Answer:
        nothing = {"portion": name, "history": [], "score": 0.0, "density": []}
        return self._system.ask(f"/v1/drift/{name}") or nothing

    def _look(self) -> None:
        """Keep what is foreseen and what there is; a line if it is time for one."""
        scores = (self._system.ask("/v1/drift") or {"drift": []})["drift"]
        shards = (self._system.ask("/v1/shards") or {"shards": []})["shards"]
        if not scores or not shards:
            return
        for drift in scores:
            last = drift["forecast"][-1]
            kept = self._foreseen.setdefault(drift["portion"], {})
            kept[last["t"]] = last["low"], last["rows_s"], last["high"]
        self._loads.append((time.time(), {s["shard"]: s["load"] for s in shards}))
        if time.monotonic() - self._told < LINE_S:
            return
        self._told = time.monotonic()
        top = max(scores, key=lambda d: d["parts"]["forecast_change"])
        last, fullest = top["forecast"][-1], max(shards, key=lambda s: s["load"])
        say(f"{self._told - self._began:5.1f} s  {self._stream.share:4.0%} new; {top['portion']}: "
            f"{top['parts']['level_now']:,.0f} rows/s, in {last['t'] - top['time']:.0f} s "
            f"{last['rows_s']:,.0f} ({last['low']:,.0f} to {last['high']:,.0f}), score "
            f"{top['score']:.1f}, {top['model']}; fullest: shard {fullest['shard']} at "
            f"{fullest['load']:.2f} of its share")  # fmt: skip

    def _plan(self) -> dict[str, Any] | None:
        """The first plan that the policy made and applied since the drift began."""
        plans = (self._system.ask("/v1/plans") or {"plans": []})["plans"]
        found = [p for p in plans if p["by"] == "policy" and p["applied"]
                 and p["made"] and p["time"] > self._wall]  # fmt: skip
        if not found:
            return None
        plan: dict[str, Any] = min(found, key=lambda p: p["time"])
        say(f"{plan['time'] - self._wall:5.1f} s  by itself: {plan['reason']}")
        for move in plan["moves"]:
            say(f"         {move['portion']} goes from shard {move['from']} to {move['to']}")
        return plan

    def _made(self, plan: Answer) -> list[dict[str, Any]]:
        """The moves of a plan, as they are now."""
        found = [self._system.ask(f"/v1/moves/{name}") for name in plan["made"]]
        self.moves = [move for move in found if move and move["stage"] in ("DONE", "ABORTED")]
        return [move for move in found if move]

    def _table(self, portion: str) -> None:
        """What was foreseen of this portion, else of the one that grew most, and what came."""
        after = self._shares()
        moved = sum(abs(after.get(n, 0.0) - self._before.get(n, 0.0)) for n in after) / 2
        say(f"{moved:.0%} of the rows now go to other portions than before")
        grown = max(after, key=lambda n: after[n] - self._before.get(n, 0.0), default="")
        name = portion or grown
        came = {round(w["t"]): w["rows_s"] for w in self._drift(name)["density"]}
        since = {t: rate for t, rate in came.items() if t >= self._wall - 5.0}
        say(f"rows/s of {name}, a window each: {sparkline(list(since.values()))}")
        known = {t: band for t, band in self._foreseen.get(name, {}).items() if round(t) in since}
        step = max(1, -(-len(known) // SHOWN))
        for t, (low, mean, high) in sorted(known.items())[::step]:
            say(f"  +{t - self._wall:4.0f} s  came {came[round(t)]:6,.0f}, foreseen {mean:6,.0f} "
                f"({low:,.0f} to {high:,.0f})")  # fmt: skip

    def _wrong(self, plan: Answer | None, trigger: Answer | None) -> list[str]:
        """What was not as it must be."""
        if plan is None or trigger is None:
            return [f"no move came by itself within {MIX_S + AFTER_S:.0f} s of the drift"]
        made = self._made(plan)
        wrong = [f"move {m['id']} of {m['portion']} was called off: {m['why']}"
                 for m in made if m["stage"] == "ABORTED"]  # fmt: skip
        if not any(equal(move) for move in made):
            wrong.append(f"no move of plan {plan['id']} has ended with equal proofs")
        begun = [entry["time"] for move in made for entry in move["history"]
                 if entry["stage"] == "PLANNED"]  # fmt: skip
        shard = trigger["shard"]
        crossed = crossing(self._loads, shard, self._line, 2 * self._window_s)
        begins = min(begun, default=float("inf")) - self._wall
        if crossed is None:
            say(
                f"it began at {begins:.1f} s; shard {shard} never reached {self._line:g} of its share"
            )
        else:
            say(f"it began at {begins:.1f} s; shard {shard} was at {self._line:g} of its share at "
                f"{crossed - self._wall:.1f} s")  # fmt: skip
            if crossed - self._wall < begins:
                wrong.append(f"shard {shard} was over the line before anything moved")
        return wrong


def equal(move: Answer) -> bool:
    """Whether a move is done, and both shards held the same."""
    proof = move["proof"]
    return bool(move["stage"] == "DONE" and proof and proof["hash_from"] == proof["hash_to"])


def crossing(
    seen: Sequence[tuple[float, Mapping[int, float]]], shard: int, line: float, whole_s: float
) -> float | None:
    """When the load of a shard was above the line and stayed there for so long; None: never.

    >>> seen = [(1.0, {0: 0.9}), (2.0, {0: 1.2}), (3.0, {0: 0.9}), (4.0, {0: 1.2}), (5.0, {0: 1.3})]
    >>> crossing(seen, 0, 1.1, 1.0), crossing(seen, 0, 1.1, 2.0)
    (4.0, None)
    """
    since = None
    for t, loads in seen:
        above = loads.get(shard, 0.0) > line
        since = (t if since is None else since) if above else None
        if since is not None and t - since >= whole_s:
            return since
    return None


def sparkline(values: Sequence[float]) -> str:
    """A character a value, as high as it is of the largest.

    >>> sparkline([0.0, 5.0, 10.0])
    '▁▄█'
    """
    top = max(values, default=0.0) or 1.0
    return "".join(BARS[int((len(BARS) - 1) * max(0.0, value) / top)] for value in values)
