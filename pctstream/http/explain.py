"""What was looked at for an answer, what was left out, and by what."""

from __future__ import annotations

from typing import Any

from pctstream.http.asking import Outcome, tally

ROUNDS = {1: "above the cut", 2: "home portion", 3: "others"}


def explained(outcome: Outcome) -> dict[str, Any]:
    """Shards in the order they were asked, with portions, cells and rows; then those left out."""
    shards = []
    for number, queries, answer in outcome.answers:
        looked = {
            key: sum(one.to_json()[key] for one in answer.tallies)
            for key in ("rows_scanned", "rows_skipped", "cells_scanned", "cells_skipped")
        }
        shards.append(
            {
                "round": ROUNDS[number],
                "shard": answer.shard,
                "queries": queries,
                "searched": answer.searched,
                "skipped_by": "ball of the cell" if not _limited(answer.reach) else "recall target",
                **looked,
            }
        )
    left_out = [
        {"query": i, "shards": sorted(some), "why": outcome.why}
        for i, some in enumerate(outcome.left_out)
        if some
    ]
    total = tally(outcome).to_json()
    del total["runs"]
    return {
        "shards": shards,
        "shards_asked": len({answer.shard for _, _, answer in outcome.answers}),
        "left_out": left_out,
        "no_answer": sorted(outcome.missing),
        **total,
    }


def _limited(reach: list[float]) -> bool:
    return any(far < float("inf") for far in reach)
