"""What the documents tell people to type is typed, page by page, into one running system."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from blocks import ROOT, Block, blocks
from broker.system import free_port, mixture, wait_for

from pctstream.cli import main

TYPED = [block for block in blocks() if block.language in ("sh", "python") and not block.reason]
BY_PAGE = {page: list(found) for page, found in groupby(TYPED, lambda block: block.page)}


class Shell:
    """Somebody at a terminal, in a directory where `pctstream up --data-dir ./data` runs."""

    def __init__(self, folder: Path, broker: str, port: int) -> None:
        self.folder = folder
        self.typed: set[tuple[str, ...]] = set()
        self.places = {
            "127.0.0.1:8800": f"127.0.0.1:{port}", "localhost:8800": f"127.0.0.1:{port}",
            "127.0.0.1:9092": broker,
        }  # fmt: skip

    def type(self, block: Block) -> None:
        text = block.text
        for written, real in self.places.items():
            text = text.replace(written, real)
        if block.language == "python":
            file = self.folder / "typed.py"
            file.write_text(text, encoding="utf-8")
            runpy.run_path(str(file))
            return
        for line in text.splitlines():
            self.line(line, str(block))

    def line(self, line: str, where: str) -> None:
        """A plain command of pctstream is run in this process: starting one takes a second. What was
        typed before, word for word, is not typed again."""
        words = shlex.split(line, comments=True)
        if not words or tuple(words) in self.typed:
            return
        self.typed.add(tuple(words))
        if words[0] == "pctstream" and not {"|", ">", "&&"} & set(words):
            with pytest.raises(SystemExit) as ended:
                main(words[1:])
            assert ended.value.code == 0, f"{where}: {line}"
            if words[1] == "feed":  # people read before they type on: a portion is there by then
                asked = f"http://{self.places['127.0.0.1:8800']}/v1/portions"
                wait_for("portions", lambda: httpx.get(asked, timeout=10.0).json()["portions"])
            return
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], cwd=self.folder, capture_output=True,
            text=True, timeout=60, env={**os.environ, "PATH": path},
        )  # fmt: skip
        assert done.returncode == 0, f"{where}: {line}\n{done.stdout}{done.stderr}"
        assert '"type":' not in done.stdout, f"{where}: {line}\n{done.stdout}"


@pytest.fixture(scope="module")
def shell(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder, port = tmp_path_factory.mktemp("typed"), free_port(2)
    env = {**os.environ, "PCT_BROKER": broker.bootstrap, "PCT_SPATIAL__ENABLED": "true",
           "PCT_SPATIAL__X": "dim:0", "PCT_SPATIAL__Y": "dim:1", "PCT_DRIFT__WINDOW_S": "1"}  # fmt: skip
    up = subprocess.Popen(
        [sys.executable, "-m", "pctstream", "up", "--data-dir", "./data", "--http",
         f"127.0.0.1:{port}"], cwd=folder, env=env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    np.save(folder / "vectors.npy", mixture(6000, dimension=2))
    try:
        assert up.stdout is not None
        assert next(line for line in up.stdout if line.startswith("ready "))
        yield Shell(folder, broker.bootstrap, port)
    finally:
        up.send_signal(signal.SIGTERM)
        up.communicate(timeout=30)


@pytest.fixture
def at_the_terminal(shell: Shell, broker: Any, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(shell.folder)
    monkeypatch.setenv("PCT_BROKER", broker.bootstrap)
    return shell


@pytest.mark.parametrize("page", BY_PAGE)
def test_what_a_page_says_can_be_typed(page: str, at_the_terminal: Shell) -> None:
    for block in BY_PAGE[page]:
        at_the_terminal.type(block)


EXAMPLES = {
    "events": ([], r"@(?:.|\n)*\n(\d{3,}) events around Oslo; the nearest: event-\d+"),
    "embeddings": (["--dimensions", "2"], r"180 looked up, 180 answers exact: ([4-9]\d)\.\d% are"),
    "sensors": (["--dimensions", "2", "--seconds", "6"], r"highest drift score (\d+\.\d)$"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_shows_what_it_is_for(
    name: str, at_the_terminal: Shell, broker: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words, said = EXAMPLES[name]
    file = ROOT / "examples" / f"{name}.py"
    http = f"http://{at_the_terminal.places['127.0.0.1:8800']}"
    given = ["--http", http, "--broker", broker.bootstrap, *words]
    monkeypatch.setattr(sys, "argv", [str(file), *given])
    runpy.run_path(str(file), run_name="__main__")
    found = re.search(said, capsys.readouterr().out.strip())
    assert found and float(found[1]) > 1.0


def test_every_example_is_run() -> None:
    assert {file.stem for file in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)
