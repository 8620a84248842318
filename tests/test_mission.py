"""docs/mission.md is true: every demand has a row, and what a row names exists.

A row is `| T1 | demand | files | tests or commands | state |`; files and tests stand in backquotes
(a test as `tests/core/test_cover.py` or `tests/core/test_cover.py::test_name`, a command as
`make demo` or `pctstream verify`), the state is "built", "begun" or "open".
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MISSION = ROOT / "docs" / "mission.md"
ROW = re.compile(r"^\| ([A-Z]\d+) \|(.*)\|(.*)\|(.*)\| *(\w+) *\|$", re.MULTILINE)
DEMANDS = {
    *(f"T{number}" for number in range(1, 29)),
    *(f"A{number}" for number in range(1, 30)),
    *(f"G{number}" for number in range(22)),
    *(f"B{number}" for number in range(1, 23)),
    *(f"K{number}" for number in range(1, 9)),
}


def rows() -> dict[str, tuple[list[str], list[str], str]]:
    found = ROW.findall(MISSION.read_text(encoding="utf-8")) if MISSION.exists() else []
    return {
        name: (re.findall(r"`([^`]+)`", files), re.findall(r"`([^`]+)`", tests), state)
        for name, _demand, files, tests, state in found
    }


def test_every_demand_has_a_row() -> None:
    assert MISSION.exists()
    assert set(rows()) == DEMANDS


def test_what_a_row_names_exists() -> None:
    for name, (files, tests, state) in rows().items():
        assert state in {"built", "begun", "open"}, name
        assert state != "built" or (files and tests), f"{name}: without file and test it is open"
        assert [file for file in files if not (ROOT / file).exists()] == [], name
        assert [shown for shown in tests if not exists(shown)] == [], name


def exists(shown: str) -> bool:
    """Whether a test or command of a row is there."""
    command = shown.split()
    if command[0] == "make":
        return f"\n{command[1]}: " in (ROOT / "Makefile").read_text(encoding="utf-8")
    if command[0] == "pctstream":
        cli = ROOT / "pctstream" / "cli.py"
        return cli.exists() and bool(re.search(rf"\b{command[1]}\b", cli.read_text()))
    path, _, function = shown.partition("::")
    if not (ROOT / path).exists():
        return False
    if not function:
        return True
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    named = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return function in named
