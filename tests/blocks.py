"""The fenced blocks of the documents, and which of them are not run, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("index.md", "quick-start.md", "concepts.md", "runbook.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    ROOT / "docs" / "rows.md",
    ROOT / "docs" / "spatial.md",
]
"""In the order in which somebody reads them; the reference has no commands."""
BLOCK = re.compile(r"^(?:<!-- not run: ([^\n]+) -->\n)?```(\w*)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True, slots=True)
class Block:
    """What is fenced; ``reason`` is why it is not run, empty where it is."""

    page: str
    line: int
    language: str
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """Those of all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start(2)) + 1
            name = str(page.relative_to(ROOT))
            found.append(Block(name, line, match[2], match[3], match[1] or ""))
    return found
