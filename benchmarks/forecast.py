"""The forecast and the drift score on series whose nature is known, on Beijing's air, and their cost.

    families     100 seeds of each generator, 360 windows, judged over the last 240: which model was used at
                 the end, and most of the time; the error of what was said against both naive forecasts
                 (worked out here), and the part of the values within the 80 % intervals
    scores       rank correlation of the score with the change that came, on ramps and on noise; how
                 many windows after its begin a ramp has a score above 3
    beijing      six hourly columns at two stations, 1,000 hours, horizon 6: error against the better
                 naive forecast in hindsight (last value; value of 24 hours ago)
    cost         1,000 portions of mixed nature: CPU of all windows from the 100th on, of `observe`, of
                 `step`, and of the fits in it; and of one fit

Everything stands in `tests/series.py`. CPU is of this thread.
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import series  # noqa: E402
from series import Scores, Trial  # noqa: E402

from pctstream.core.density import Window  # noqa: E402
from pctstream.core.drift import Drift  # noqa: E402
from pctstream.core.forecast import Forecast  # noqa: E402
from pctstream.core.models import fitted  # noqa: E402

LENGTH, BEGIN, HOURS = 360, 120, 1000
EXPECTED = (
    (series.trend, ("ets", "holt"), 0),
    (series.autoregressive, ("arima",), 0),
    (series.season, ("seasonal",), 12),
    (series.season_24, ("seasonal",), 24),
    (series.walk, ("naive",), 0),
    (series.noise, ("arima", "ets"), 0),
    (series.shift, (), 0),
)


def families(seeds: int) -> None:
    """One line a generator."""
    for made, names, m in EXPECTED:
        trials = [
            Trial(made(np.random.default_rng(seed), LENGTH), BEGIN, fit_every=1 + seed % 3)
            for seed in range(seeds)
        ]
        last = sum(t.models[-1].startswith(names) for t in trials) if names else 0
        most = sum(t.part(*names) > 0.5 for t in trials) if names else 0
        used = collections.Counter(t.models[-1].split(",")[0] for t in trials)
        ratios = [t.error / t.naive_error() for t in trials]
        cover = [t.coverage for t in trials]
        seasonal = [t.error / t.naive_error(m) for t in trials] if m else [np.nan]
        print(
            f"{made.__name__:15} expected at the end {last}, most of the time {most} of {seeds}; "
            f"error / naive {np.mean(ratios):.2f} / seasonal naive {np.mean(seasonal):.2f} "
            f"(most {np.max(seasonal):.2f}); within {np.mean(cover):.3f} "
            f"({min(cover):.2f} to {max(cover):.2f}); {dict(used.most_common(4))}",
            flush=True,
        )


def scores(seeds: int) -> None:
    """Rank correlations."""
    for made in (series.ramps, series.gentle_ramps, series.noise):
        found = [
            Scores(made(np.random.default_rng(seed), LENGTH)).correlation(60)
            for seed in range(seeds)
        ]
        print(
            f"{made.__name__:12} correlation median {np.median(found):.2f}, "
            f"10 % {np.quantile(found, 0.1):.2f}, 90 % {np.quantile(found, 0.9):.2f}, "
            f"{sum(f >= 0.5 for f in found)} of {seeds} at least 0.5",
            flush=True,
        )


def onset(seeds: int) -> None:
    """Windows from the begin of a ramp, after 100 of noise of 5, until the score exceeds 3."""
    for slope in (4.0, 8.0, 16.0):
        seen = []
        for seed in range(seeds):
            level = series.noise(np.random.default_rng(seed), 140)
            level[100:] += slope * np.arange(40)
            over = [s > 3.0 for s in Scores(level).scores[100:]]
            seen.append(over.index(True) if any(over) else 40)
        print(f"ramp of {slope:.0f} a window: seen after {np.median(seen):.0f} windows "
              f"({min(seen)} to {max(seen)})", flush=True)  # fmt: skip


def beijing(data: Path) -> None:
    """One line a column."""
    total = []
    for column in series.BEIJING:
        for station in (0, 6):
            trial = Trial(series.beijing(data, column, HOURS, station), 168)
            naive, seasonal = trial.naive_error(), trial.naive_error(24)
            total.append(trial.error / min(naive, seasonal))
            used = collections.Counter(m.split(",")[0] for m in trial.models)
            print(
                f"{column:6} station {station}: error / better naive {total[-1]:.3f}, "
                f"/ naive {trial.error / naive:.3f}, / seasonal naive {trial.error / seasonal:.3f}; "
                f"within {trial.coverage:.3f}; {dict(used.most_common(3))}",
                flush=True,
            )
    print(f"mean {np.mean(total):.3f}")


def cost(portions: int, windows: int = 200) -> None:
    """CPU per window of so many portions."""
    rng = np.random.default_rng(0)
    drift = Drift({"window_s": 5.0, "horizon": 6, "model": "auto"})
    base = 100 * np.exp(rng.normal(0, 1, portions))
    kind, wander = rng.integers(0, 4, portions), np.zeros(portions)
    spent: dict[str, list[float]] = {"observe": [], "step": [], "fits": []}
    plain = Forecast.fit
    fits = [0.0]

    def timed(self: Forecast) -> None:
        begin = time.thread_time()
        plain(self)
        fits[0] += time.thread_time() - begin

    Forecast.fit = timed  # type: ignore[method-assign]
    for t in range(windows):
        wander += rng.normal(0, 0.02, portions)
        shape = [1.0, 1 + 0.5 * np.sin(2 * np.pi * t / 24), np.exp(wander), 1 + 0.005 * t]
        rows = rng.poisson(5 * base * np.choose(kind, shape))
        told = [
            Window(t, float(r), 512.0 * r, d, 0.001, 1)
            for r, d in zip(rows, rng.normal(1, 0.01, portions).tolist(), strict=True)
        ]
        fits[0] = 0.0
        begin = time.thread_time()
        for i, window in enumerate(told):
            drift.observe(str(i), window)
        middle = time.thread_time()
        drift.step(t)
        for name, value in (
            ("observe", middle - begin), ("step", time.thread_time() - middle), ("fits", fits[0]),
        ):  # fmt: skip
            spent[name].append(value)
    Forecast.fit = plain  # type: ignore[method-assign]
    mean = {name: float(np.mean(values[windows // 2 :])) for name, values in spent.items()}
    whole = mean["observe"] + mean["step"]
    print(
        f"{portions} portions: {whole:.2f} s CPU a window of 5 s = {20 * whole:.1f} % of one core "
        f"(observe {mean['observe']:.2f}, step {mean['step']:.2f}, of which fits {mean['fits']:.2f})"
    )
    for made, m in ((series.trend, None), (series.walk, None), (series.season_24, 24)):
        y, taken = made(rng, 144), []
        for _ in range(9):
            begin = time.thread_time()
            fitted(y, m)
            taken.append(time.thread_time() - begin)
        print(f"one fit, {made.__name__}: {1000 * np.median(taken):.1f} ms")


def main() -> None:
    """All parts, or those named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("parts", nargs="*", default=["families", "scores", "beijing", "cost"])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--portions", type=int, default=1000)
    args = parser.parse_args()
    data = Path(os.environ.get("PCT_SHARED") or ROOT.parent / "shared") / "data"
    if "families" in args.parts:
        families(args.seeds)
    if "scores" in args.parts:
        scores(max(1, args.seeds // 4))
        onset(max(1, args.seeds // 4))
    if "beijing" in args.parts:
        beijing(data) if data.is_dir() else print("missing shared data")
    if "cost" in args.parts:
        cost(args.portions)


if __name__ == "__main__":
    main()
