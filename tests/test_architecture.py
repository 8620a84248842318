"""ARCHITECTURE.md is true: every module has its line, and whatever it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from pctstream.core import life

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pctstream"
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([\w./-]+\.(?:py|md|toml|yaml|yml|xml|lock)|\.ci/run)(?:::(\w+))?`")
SIMULATED = re.compile(r"simulator \(([^)]+)\)")
WORDS = {
    "Node", "pipe", "NodeWrapper", "LoopExecutor", "Tree", "find_cover_loop", "split_loop",
    "call-back on cover found", "file-streamer", "solver interface", "CoverTreePortion",
    "Node (data, Bloom filter, capacity)", "Drift Predictor", "re-balancing", "shadowing",
    "rolling migration", "distributed metadata store", "density map", "granularity adjustment",
    "index portion",
}  # fmt: skip


def section(title: str) -> str:
    """What stands between this heading and the next of its kind."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title!r}"
    return found[1]


def table(title: str) -> dict[str, list[str]]:
    """First cell -> the other cells, of every row of the section's tables."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rows = {
        first.strip("`"): rest for first, *rest in cells if first not in ("file", "rule", "word")
    }
    assert len(rows) == sum(c[0] not in ("file", "rule", "word") for c in cells), "a row twice"
    return rows


def place(name: str) -> Path | None:
    """A file is named from the top of the project or from the package."""
    return next((p for p in (ROOT / name, PACKAGE / name) if p.exists()), None)


def names_in(path: Path) -> set[str]:
    """Functions, classes and assigned names of a module, methods included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def diagram() -> str:
    """The states and steps of core/life.py as a Mermaid state diagram."""
    reached = set(life.TRANSITIONS.values())
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {state} : {state}, mode {mode}" for state, mode in life.MODES.items()]
    lines += [f"    [*] --> {state}" for state in life.MODES if state not in reached]
    lines += [f"    {s} --> {to} : {event}" for (s, event), to in life.TRANSITIONS.items()]
    return "\n".join([*lines, "```"])


def test_every_module_has_one_line() -> None:
    modules = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    assert set(table("Files")) == {name for name in modules if not name.endswith("__init__.py")}
    assert [name for name, (what,) in table("Files").items() if len(what) < 10] == []


def test_every_file_and_name_in_it_exists() -> None:
    named = NAMED.findall(TEXT)
    assert len(named) > 100
    for file, name in named:
        path = place(file)
        assert path, f"{file} does not exist"
        assert not name or name in names_in(path), f"{file} has no {name}"


def test_every_rule_has_its_keeper_and_its_proof() -> None:
    rules = table("Rules")
    assert list(rules) == [f"R{number}" for number in range(14)]
    asserted = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests" / "sim").glob("*.py"))
    for rule, (_says, kept, shown, open_) in rules.items():
        assert NAMED.search(kept) and (NAMED.search(shown) or open_), rule
        for claimed in SIMULATED.findall(shown):
            assert claimed == rule, f"{rule} claims what the simulator asserts as {claimed}"
            assert re.search(rf'"[^"]*\b{rule}\b[^"]*: ', asserted), (
                f"no sim assertion names {rule}"
            )


def test_the_words_of_the_sources_lead_to_files() -> None:
    words = table("Words of the sources")
    assert set(words) == WORDS
    for word, cells in words.items():
        where = cells[-1]
        assert bool(NAMED.search(where)) or where == "not yet", word


def test_the_life_of_a_node_is_the_table_in_the_code() -> None:
    assert diagram() in TEXT, f"put this into ARCHITECTURE.md:\n{diagram()}"
