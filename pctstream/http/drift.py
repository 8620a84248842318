"""The views of drift: scores and forecasts of all portions, as the drift agent told them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI

from pctstream.core.chunks import joined
from pctstream.core.names import node_name, node_path
from pctstream.errors import NotFound
from pctstream.tables import ReadModel, Record

HIDDEN = frozenset({"kind", "offset", "author", "worker"})
LONG = frozenset({"history", "detectors"})
"""Left out where all portions are listed."""
DENSITIES = 120
"""Windows shown of a portion."""
Page = Callable[[list[Any], int, str], tuple[list[Any], str | None]]


def add(
    app: FastAPI, model: ReadModel, window_s: float, page: Page, as_of: Callable[[], dict[str, Any]]
) -> None:
    """The two calls."""

    @app.get("/v1/drift")
    async def scores(limit: int = 1000, cursor: str = "") -> dict[str, Any]:
        """Each portion's drift score with its parts and forecast."""
        found = told(model)
        names = sorted(found, key=node_path)
        picked, following = page(names, limit, cursor)
        shown = [{k: v for k, v in view(found[n]).items() if k not in LONG} for n in picked]
        return {"drift": shown, "next": following, "as_of": as_of()}

    @app.get("/v1/drift/{name}")
    async def score(name: str) -> dict[str, Any]:
        """One portion's, with the densities of its last windows and its graded history."""
        wanted = node_name(node_path(name))
        found = told(model).get(wanted)
        if found is None:
            raise NotFound(f"no drift score of {wanted}: no portion, or no window was over yet")
        shown = densities(model, wanted, window_s)
        return view(found) | {"density": shown, "as_of": as_of()}


def told(model: ReadModel) -> dict[str, Record]:
    """The last record of each portion that has a score."""
    return {record["portion"]: record for record in model.of("drift")}


def view(record: Record) -> dict[str, Any]:
    """A score as it is shown."""
    return {k: v for k, v in record.items() if k not in HIDDEN}


def densities(model: ReadModel, name: str, window_s: float) -> list[Mapping[str, Any]]:
    """The last windows of a portion or leaf, t being when each began."""
    series = joined((r for r in model.of("density") if r["node"] == name), window_s)
    windows = list(series.windows)[-DENSITIES:] if series else []
    return [
        {"t": w.number * window_s, "rows_s": w.rows / window_s, "bytes_s": w.bytes / window_s,
         "mean_distance": w.mean_distance, "uncovered": w.uncovered, "spread": w.spread}
        for w in windows
    ]  # fmt: skip
