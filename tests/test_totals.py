"""Totals outlive the process: whatever kills it, no scrape shows less than one before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from sim.memory import MemoryKV

from pctstream.agents.gauges import named
from pctstream.catalogue import BY_NAME, CATALOGUE
from pctstream.core.drawer import Change
from pctstream.errors import StoreFailed
from pctstream.kv import KV
from pctstream.metrics import LABELLED_NODES_MAX, Metrics
from pctstream.rocks import RocksKV


class FullDisk(MemoryKV):
    """Takes nothing."""

    def write(self, changes: Sequence[Change]) -> None:
        raise StoreFailed("the disk refused a write")


def begun(kv: KV, said: list[str] | None = None) -> Metrics:
    made = Metrics()
    made.keep(kv, [].append if said is None else said.append)
    return made


def shown(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every series of `/metrics` that is a total."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        if family.type in ("counter", "histogram") and family.name.startswith("pct_")
        for sample in family.samples
    }


DEEDS = st.lists(st.sampled_from(["read", "applied", "turn", "scrape", "save", "killed", "ended"]))


@settings(deadline=None, max_examples=60)
@given(DEEDS)
def test_no_scrape_shows_less_than_one_before_it(deeds: list[str]) -> None:
    kv = MemoryKV()
    metrics = begun(kv)
    true: dict[str, int] = {"read": 0, "applied": 0, "turn": 0}
    safe = dict(true)
    seen = shown(metrics)
    for deed in deeds:
        if deed in ("read", "applied"):
            metrics.stage(deed, 3)
            true[deed] += 3
        elif deed == "turn":
            metrics.apply_seconds.observe(0.002)
            true["turn"] += 1
        elif deed == "save":
            metrics.save()
            safe = dict(true)
        elif deed in ("killed", "ended"):
            if deed == "ended":
                metrics.close()
                safe = dict(true)
            true = dict(safe)
            metrics = begun(kv)
        else:
            now = shown(metrics)
            assert all(now[series] >= value for series, value in seen.items())
            seen, safe = now, dict(true)
    last = shown(metrics)
    assert [last["pct_rows_total", s] for s in ("read", "applied")] == [
        true["read"],
        true["applied"],
    ]
    assert last["pct_apply_seconds_count",] == last["pct_apply_seconds_bucket", "+Inf"]
    assert last["pct_apply_seconds_bucket", "0.003"] == true["turn"]


def test_they_lie_in_rocksdb(tmp_path: Path) -> None:
    first = begun(RocksKV(tmp_path / "totals", 1 << 20))
    first.dead("norm")
    first.query("exact", 0.5, 70)
    told = shown(first)
    assert told["pct_dead_letters_total", "norm"] == 1.0
    first.close()
    again = begun(RocksKV(tmp_path / "totals", 1 << 20))
    assert shown(again) == told
    again.query("exact", 0.5, 30)
    assert shown(again)["pct_query_rows_scanned_total", "exact"] == 100.0
    again.close()


def test_a_full_disk_costs_the_totals_and_nothing_else() -> None:
    said: list[str] = []
    metrics = begun(FullDisk(), said)
    metrics.stage("read", 5)
    assert shown(metrics)["pct_rows_total", "read"] == 5.0
    assert shown(metrics)["pct_rows_total", "read"] == 5.0
    assert said == ["totals are no longer kept: the disk refused a write"]


def test_every_value_of_a_label_is_there_from_the_start_at_0() -> None:
    found = shown(Metrics())
    assert set(found.values()) == {0.0}
    for what in CATALOGUE:
        for values in what.values:
            series = what.name + ("_count" if what.kind == "histogram" else "")
            assert (series, *values) in found


@pytest.mark.parametrize("what", CATALOGUE, ids=[what.name for what in CATALOGUE])
def test_a_metric_is_named_as_prometheus_wants(what: object) -> None:
    assert isinstance(what, type(CATALOGUE[0]))
    assert what.name.startswith("pct_")
    assert what.name.endswith("_total") == (what.kind == "counter")
    assert bool(what.buckets) == (what.kind == "histogram")
    assert len(what.says) > 5 or what.says == "on a shard"
    for values in what.values:
        assert len(values) == len(what.labels)


def test_labels_are_bounded_to_the_largest_and_the_rest() -> None:
    rows = {f"N0,{i}": float(i % 1500) for i in range(1500)}
    shown_rows = named(rows)
    assert len(shown_rows) == LABELLED_NODES_MAX + 1
    assert min(v for n, v in shown_rows.items() if n != "other") == 500.0
    assert sum(shown_rows.values()) == sum(rows.values())
    few = dict(list(rows.items())[:1000])
    assert named(few) == few


def test_a_metric_is_declared_once() -> None:
    assert len(BY_NAME) == len(CATALOGUE)
