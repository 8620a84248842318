"""The commands a user types: up, feed --wait, status, verify, faust; a worker killed in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from broker.system import free_port, mixture, wait_for

from pctstream.running import alive

ROWS = 4000


class Shell:
    """Commands in one environment."""

    def __init__(self, folder: Path, broker: str, tree: str) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port(2)}"
        self.env = {
            "PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PCT_BROKER": broker,
            "PCT_TREE__NAME": tree, "PCT_DATA_DIR": str(folder), "PCT_SHARDS__COUNT": "2",
            "PCT_TREE__EPSILON": "8.0", "PCT_TREE__GAP": "500",
        }  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pctstream", *words],
            env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, *words: str, module: str = "pctstream") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            env=self.env, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout


@pytest.fixture
def shell(tmp_path: Path, broker: Any, tree_name: str) -> Iterator[Shell]:
    yield Shell(tmp_path, broker.bootstrap, tree_name)


def known(shell: Shell) -> dict[str, Any]:
    return dict(json.loads((shell.folder / "workers.json").read_text()))


def test_from_up_to_verify(shell: Shell) -> None:
    up = shell.start("up", "--workers", "2", "--http", shell.url.removeprefix("http://"))
    try:
        assert up.stdout is not None
        # Faust may log before: its own topics are made while it starts
        heard = []
        for line in up.stdout:
            heard.append(line.strip())
            if heard[-1] == f"ready {shell.url}":
                break
        else:
            pytest.fail("\n".join(heard))
        rows = shell.folder / "rows.npy"
        np.save(rows, mixture(ROWS))
        assert shell.run("feed", str(rows), "--wait")[0] == 0
        wait_for("portions", lambda: httpx.get(f"{shell.url}/v1/portions").json()["portions"])
        first, victim = known(shell)["pids"]
        os.kill(victim, signal.SIGKILL)
        code, said = shell.run("feed", str(rows), "--loop", "2", "--wait", "--json")
        assert (code, json.loads(said)["rows"]) == (0, 2 * ROWS)
        # the other worker may have taken all rows before this one is started again
        wait_for("another worker-1", lambda: known(shell)["pids"][1] not in (None, victim))
        again = known(shell)["pids"][1]
        code, said = shell.run("verify", "--json", "--deep")
        verdict = json.loads(said)
        # the first pass of the loop has the ids of the file fed before: its rows replace those
        assert (code, verdict["applied"], verdict["superseded"]) == (0, 2 * ROWS, ROWS)
        code, said = shell.run("status", "--json")
        wait_for("all rows in the status", lambda: json.loads(
            shell.run("status", "--json")[1])["tree"]["rows"] == 2 * ROWS)  # fmt: skip
        agents = shell.run("-A", "pctstream.app", "agents", module="faust")[1]
        assert {"@N0", "@N0.0", "@tree", "@state"} <= set(agents.split())
        tables = shell.run("-A", "pctstream.app", "tables", module="faust")[1]
        assert {"nodes", "portions", "metrics"} <= set(tables.split())
    finally:
        up.terminate()
        said, _ = up.communicate(timeout=60)
    assert up.returncode == 0, said
    restarts = [line for line in said.splitlines() if "starting it again" in line]
    assert restarts == ["worker-1 ended (signal 9): starting it again"]
    assert not any(alive(pid) for pid in (first, again))
    assert not (shell.folder / "workers.json").exists()


def test_what_is_wrong_is_said_in_one_line(shell: Shell) -> None:
    shell.env["PCT_TREE__GAP"] = "none"
    assert shell.run("status")[0] == 2
    shell.env["PCT_TREE__GAP"] = "500"
    assert shell.run("status", "--http", "http://127.0.0.1:9")[0] == 1
    del shell.env["PCT_BROKER"]
    assert shell.run("verify")[0] == 3
