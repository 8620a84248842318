"""The documents are true: the reference is printed from the code, links lead somewhere, files are files.

What they tell people to type is run by tests/broker/test_docs.py.
"""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from blocks import PAGES, ROOT, Block, blocks

from pctstream import config, packed
from pctstream.catalogue import CATALOGUE
from pctstream.cli import COMMANDS
from pctstream.config import SETTINGS

DOCS = ROOT / "docs"
MADE = runpy.run_path(str(DOCS / "generate.py"))
EVERY_PAGE = sorted({*PAGES, *DOCS.rglob("*.md")})
LINK = re.compile(r"\]\(([^)\s]+)\)")
LANGUAGES = {"sh", "python", "toml", "json", "text", "mermaid"}


def of(page: str) -> str:
    return (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MADE["PAGES"])
def test_the_reference_is_what_the_code_says(name: str) -> None:
    assert of(name) == MADE["text"](name), "run `make docs`"


def test_every_setting_metric_topic_call_and_command_is_in_it() -> None:
    for key in SETTINGS:
        section, _, name = key.partition(".")
        part = of("settings").partition(f"## [{section}]")[2].partition("\n## ")[0]
        assert f"| `{name}` |" in part, key
    for what in CATALOGUE:
        assert re.search(rf"^\| `{what.name}[`{{]", of("metrics"), re.M), what.name
    for file in packed.topic_kinds().iterdir():
        name = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["topicName"]
        assert f"## `{name}`" in of("topics"), name
    for command in COMMANDS:
        assert f"## `pctstream {command}" in of("cli"), command


def test_every_call_is_there_and_says_what_it_gives() -> None:
    document: dict[str, Any] = MADE["document"]()
    assert len(document["paths"]) > 25
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            assert f"`{method.upper()} {path}`" in of("http")
            assert len(call.get("description", "")) > 8, path


def anchors(page: Path) -> set[str]:
    """The headings of a page as they are linked."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_site_has_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"([\w/-]+\.md)$", text.partition("\nnav:")[2], re.M)
    assert sorted(listed) == sorted(str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md"))


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_a_block_says_what_it_is_and_is_that(block: Block) -> None:
    assert block.language in LANGUAGES, "sh, python, toml, json, or text for what nobody types"
    assert not block.reason or block.language in ("sh", "python")
    if block.language == "toml":
        given = tomllib.loads(block.text)
        keys = {f"{section}.{key}": v for section, part in given.items() for key, v in part.items()}
        config.load(None, {}, keys)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "text":
        assert not re.match(r"(pctstream|curl|make|docker|export) ", block.text)


def test_few_commands_are_left_out() -> None:
    typed = [block for block in blocks() if block.language in ("sh", "python")]
    left_out = [block for block in typed if block.reason]
    assert len(left_out) <= 8 and len(typed) > 25
