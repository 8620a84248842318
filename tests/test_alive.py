"""`/livez` is about the parts of a process, and about the time in which somebody looked."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_hosted import worker

from pctstream.agents.monitor import Watch
from pctstream.core.monitor import Sight


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return worker(tmp_path, "worker-0").monitor


def test_a_reader_that_does_nothing_is_named_and_one_that_comes_round_is_not(watch: Watch) -> None:
    for second in range(0, 36, 3):
        assert watch.dead() is None
        watch._vitals.look(float(second), {"the reader 0": 7, "the event loop": second})
    assert watch.dead() == "the reader 0 has done nothing for 33 s"
    watch._vitals.look(36.0, {"the reader 0": 8, "the event loop": 36})
    assert watch.dead() is None


def test_a_process_that_was_stopped_is_not_dead_when_it_wakes(watch: Watch) -> None:
    for second in (0.0, 3.0, 3000.0):
        watch._vitals.look(second, {"the reader 0": 7})
    assert watch.dead() is None


def test_the_wiring_may_take_long(watch: Watch) -> None:
    for second in range(0, 603, 3):
        watch._vitals.look(float(second), {"the wiring": 7})
        assert watch.dead() is None
    watch._vitals.look(603.0, {"the wiring": 7})
    assert watch.dead() == "the wiring has done nothing for 603 s"


def test_restarts_of_a_former_host_are_told_before_the_first_look(watch: Watch) -> None:
    """Seen on a busy machine: a report went out between a shard's arrival and the monitor's look at it,
    said 0, and was what the monitor then took over."""
    told = {"node": "N0", "stored": 7, "routed": 7, "moved": 12.5, "restarts": 3}
    watch._worker.model.fold(
        {"kind": "shard", "shard": 2, "epoch": 0, "offset": 7, "inputs": [told]}
    )
    assert watch.known(2, "N0") == {"moved": 12.5, "restarts": 3, "stalled": None}
    assert watch.known(2, "N0,4") == {"moved": 0.0, "restarts": 0, "stalled": None}
    watch._look(2, "N0", Sight((7, 7), 0, ""))
    assert watch.known(2, "N0") == {"moved": 12.5, "restarts": 3, "stalled": None}
