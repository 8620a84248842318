"""What the drift agent sees, as metrics: told by the one worker that runs it (CONTRACT: Metrics)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pctstream.agents.gauges import named, told
from pctstream.core.drift import DriftScore
from pctstream.core.names import Path, node_name

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker


class Scores(Protocol):
    """Who has the scores."""

    def scores(self) -> Mapping[Path, DriftScore]:
        """Of the last window."""


class Forecasts(Collector):
    """Asked by the registry at every scrape."""

    def __init__(self, agent: Scores, worker: Worker) -> None:
        self._agent = agent
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """Scores and forecasts of the portions with the most rows."""
        scores = {node_name(path): score for path, score in self._agent.scores().items()}
        records = self._worker.model.portions()
        rows = {name: float(records[name]["rows"]) for name in scores if name in records}
        shown = [name for name in named(rows) if name in scores]
        rest = [scores[name] for name in scores.keys() - set(shown)]
        worst = [(("other",), max(s.score for s in rest))] if rest else []
        yield told("pct_drift_score", [((n,), scores[n].score) for n in shown] + worst)
        came = [((name,), scores[name].parts["level_now"]) for name in shown]
        others = [(("other",), sum(s.parts["level_now"] for s in rest))] if rest else []
        yield told("pct_portion_rows_per_second", came + others)
        bands = [((name, bound), value) for name in shown
                 for bound, value in _band([scores[name]])]  # fmt: skip
        bands += [(("other", bound), value) for bound, value in _band(rest)] if rest else []
        yield told("pct_forecast_rows_per_second", bands)
        errors = [((name, scores[name].model), mase) for name in shown
                  if (mase := scores[name].mase) is not None]  # fmt: skip
        yield told("pct_forecast_mase_ratio", errors)


def _band(scores: Iterable[DriftScore]) -> list[tuple[str, float]]:
    """The sums of (low, mean, high) at the horizon."""
    last = [score.forecast[-1] for score in scores]
    return [
        ("low", sum(e.low for e in last)),
        ("mean", sum(e.rows_s for e in last)),
        ("high", sum(e.high for e in last)),
    ]
