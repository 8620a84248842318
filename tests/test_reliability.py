"""docs/reliability.md has what `make chaos` found: every fault of the driver, seen, and held."""

from __future__ import annotations

import itertools

from chaos import report
from chaos.__main__ import FAULTS, KILLS, TIMES, schedule
from chaos.workers import KILL

from pctstream import settings

ROWS = 100_000


def test_the_table_has_every_fault_as_often_as_the_run_has_it() -> None:
    text = report.PAGE.read_text(encoding="utf-8")
    table = text.split(report.BEGIN)[1].split(report.END)[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line[:1] == "|"][2:]
    found = {name: (times, result) for name, _, _, times, _, _, result in rows}
    wanted = {fault.name: TIMES.get(fault.name, 1) * fault.count for fault in FAULTS}
    wanted[KILL.name] = len(KILLS)
    if not found:
        assert "no whole run is written down yet" in table
        return
    assert found.keys() == wanted.keys()
    for name, (times, result) in found.items():
        if result == "held":
            assert times == f"{wanted[name]} of {wanted[name]}"
        else:
            assert result.startswith(("void", "Breach", "Void", "AssertionError"))


def test_kills_come_at_their_shares_of_the_rows_and_everything_in_order() -> None:
    planned = list(schedule(ROWS))
    marks = [upto / ROWS for fault, upto in planned if fault is KILL]
    assert marks == KILLS
    assert all(after - before >= 0.15 - 1e-9 for before, after in itertools.pairwise(marks))
    places = [upto for _, upto in planned]
    assert places == sorted(places)
    assert places[-1] <= ROWS


def test_the_page_names_settings_that_there_are() -> None:
    assert "ingest.on_loss" in report.PAGE.read_text(encoding="utf-8")
    assert "ingest.on_loss" in settings.SETTINGS
