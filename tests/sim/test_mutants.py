"""Every broken rule that the mutants stand for is seen by the simulator."""

from __future__ import annotations

import pytest
from sim.mutants import MUTANTS, Mutant, red

REQUIRED = {
    "ack before durable",
    "position and rows in two batches",
    "watermark check skipped",
    "seq check dropped",
    "go on after a failed delivery",
    "the source lets go before the proof",
    "a filter is not updated in a shadow",
    "reset=earliest",
    "commits trusted for pipes",
    "a delete purged where a scan follows",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=[m.name for m in MUTANTS])
def test_a_broken_rule_is_seen(mutant: Mutant) -> None:
    """By a rule that has a name, else `red` ends the run."""
    assert red(mutant), f"no seed of the simulator notices: {mutant.name}"


def test_those_that_must_be_there_are_there() -> None:
    assert {m.name for m in MUTANTS} >= REQUIRED


def test_a_line_that_is_not_in_the_product_is_a_loud_failure() -> None:
    with pytest.raises(SystemExit, match="has not this line"):
        red(MUTANTS[0]._replace(line="no such line"), 1)
