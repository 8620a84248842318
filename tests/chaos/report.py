"""The table of docs/reliability.md, between its markers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from chaos.fault import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
HEAD = (
    "| fault | promise | how it was tried | times | ready: promised, slowest | lost, duplicated | "
    "result |\n|---|---|---|---|---|---|---|"
)


def line(outcome: Outcome) -> str:
    fault = outcome.fault
    ready = f"{fault.ready_s:.0f} s, {outcome.ready_s:.1f} s"
    rows = f"{outcome.lost}, {outcome.duplicated}"
    cells = (fault.name, fault.promise, fault.how, f"{outcome.seen} of {outcome.wanted}", ready,
             rows, outcome.result)  # fmt: skip
    return f"| {' | '.join(cells)} |"


def write(outcomes: Sequence[Outcome], summary: str) -> None:
    """Replace the table by what this run found."""
    table = "\n".join([BEGIN, summary, "", HEAD, *map(line, outcomes), END])
    text = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: table, text), encoding="utf-8")
