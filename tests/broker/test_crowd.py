"""More workers than there are shards, and two systems under one tree's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from broker.system import System, mixture, wait_for

ROWS = 3000


@pytest.mark.timeout(200)
def test_who_has_no_shard_serves_and_takes_over(
    system: Callable[..., System], tmp_path: Path
) -> None:
    one = system(shards__count=2, tree__epsilon=8.0, tree__gap=500)
    one.start(0, 1, 2)
    one.feed(mixture(ROWS))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    hosts = {s["worker"] for s in one.get("/v1/shards")["shards"]}
    idle = next(n for n in (0, 1, 2) if f"worker-{n}" not in hosts)
    assert one.get("/readyz", idle)
    wait_for("it knows all", lambda: one.get("/v1/tree", idle)["rows"] == ROWS)
    for number in {0, 1, 2} - {idle}:
        one.kill(number)
    wait_for("it has them all", lambda: {
        s["worker"] for s in one.get("/v1/shards", idle)["shards"]} == {f"worker-{idle}"})  # fmt: skip
    one.feed(mixture(ROWS, seed=1))
    assert one.verify().applied == 2 * ROWS
    # somebody starts the same tree again elsewhere, under the same workers' names
    folder = tmp_path / "other"
    folder.mkdir()
    other = System(one.broker, one.tree, folder, one.settings)
    try:
        other.start(idle, ready=False)
        assert other.died(idle) == 2
        assert "another worker of the tree" in other.log(idle)
        assert one.urls[0] in other.log(idle)
    finally:
        other.stop()
    one.feed(mixture(ROWS, seed=2))
    assert one.verify().applied == 3 * ROWS
    assert one.workers[idle].poll() is None
