"""Rows of a short time to live: searched, counted and verified right until none is left, whoever dies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from broker.system import System, mixture, wait_for

TTL_S = 5.0


def test_rows_leave_when_their_time_is_over_also_after_kill_9(system: Callable[..., System]) -> None:
    one = system(
        shards__count=2, tree__epsilon=8.0, tree__gap=300, tree__epsilon_ratio=0.01,
        ingest__ttl_s=TTL_S,
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
    asked = {"vector": old[0].tolist(), "k": 5}
    said = wait_for("an exact answer", lambda: _exact(one, asked), 10)
    assert said == []
    assert one.status("/v1/rows/7") == 404

    young = mixture(30, seed=6)
    one.feed(young, [str(i) for i in range(5, 35)])
    wait_for("the young rows", lambda: one.get("/v1/tree")["rows"] == 30, TTL_S)
    row = one.get("/v1/rows/7")
    assert row["vector"] == young[2].tolist()
    [first, *_] = one.post("/v1/search", {"vector": young[2].tolist(), "k": 5})["results"]
    assert (first["id"], first["distance"]) == ("7", 0.0)
