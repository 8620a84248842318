"""Rows of a short time to live: searched, counted and verified right until none is left, whoever dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from broker.system import System, mixture, wait_for
from broker.test_formats import metrics

TTL_S = 10.0
"""Long enough for a row to be found meanwhile."""


def test_rows_leave_when_their_time_is_over_also_after_kill_9(
    system: Callable[..., System],
) -> None:
    one = system(
        shards__count=2, tree__epsilon=8.0, tree__gap=300, tree__max_level=1, ingest__ttl_s=TTL_S,
    )  # fmt: skip
    one.start(0, 1)
    old = mixture(1500)
    one.feed(old, [str(i % 1200) for i in range(1500)])
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.kill(1)
    one.feed(mixture(40, seed=5), [str(i) for i in range(40)])
    one.start(1)
    wait_for("all rows to leave", lambda: one.get("/v1/tree")["rows"] == 0, 30)
    found = one.verify()
    assert found.sound, found
    assert (found.superseded, found.applied) == (1540, 0)
    counted = [metrics(one, f"pct_{what}_rows_total") for what in ("expired", "purged")]
    assert all(0 < told[""] <= 1540 for told in counted), counted
    asked = {"vector": old[0].tolist(), "k": 5}
    wait_for("an exact answer of nothing", lambda: _search(one, asked) == ([], True), 10)
    seven = f"{one.urls[1]}/v1/rows/7"
    wait_for("no row 7", lambda: httpx.get(seven, timeout=10.0).status_code == 404, 10)

    young = mixture(30, seed=6)
    one.feed(young, [str(i) for i in range(5, 35)])
    row = wait_for("row 7", lambda: one.get("/v1/rows/7"), TTL_S)
    assert row["vector"] == young[2].tolist()
    results, _ = _search(one, {"vector": young[2].tolist(), "k": 5})
    assert (results[0]["id"], results[0]["distance"]) == ("7", 0.0)


def _search(one: System, asked: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    said = httpx.post(f"{one.urls[0]}/v1/search", json=asked, timeout=10.0).json()
    return said["results"], said["exact"]
