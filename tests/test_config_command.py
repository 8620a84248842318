"""What `pctstream config` prints, for people, for scripts, and for `--config`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pctstream.commands.config import COLUMNS, config_command
from pctstream.config import SETTINGS, load

SECRET = {"PCT_KAFKA__CLIENT": '{"sasl.password" = "hunter2", "security.protocol" = "ssl"}'}


def said(*words: str, **variables: str) -> str:
    given = {name: None for name in os.environ if name.startswith("PCT_")} | variables
    done = CliRunner().invoke(config_command, words, env=given)
    assert done.exit_code == 0, done.output
    return done.stdout


def settings(*words: str, **variables: str) -> dict[str, dict[str, Any]]:
    return {s["key"]: s for s in json.loads(said("--json", *words, **variables))["settings"]}


def test_every_setting_with_what_is_known_of_it() -> None:
    found = settings()
    assert list(found) == list(SETTINGS)
    for key, one in found.items():
        setting = SETTINGS[key]
        assert (one["unit"], one["why"], one["allowed"]) == (
            setting.unit, setting.why, setting.allowed.text,
        )  # fmt: skip
        assert (one["source"], one["from"]) == ("default", "")
    assert found["tree.gap"]["value"] == found["tree.gap"]["default"] == 1000
    assert found["tree.gap"]["variable"] == "PCT_TREE__GAP"


def test_where_each_value_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[tree]\ngap = 7\nfanout = 7\n[http]\nbind = '127.0.0.1:1'\n")
    found = settings("--config", str(file), "--data-dir", str(tmp_path), PCT_TREE__FANOUT="8",
                     PCT_BROKER="h:1")  # fmt: skip
    told = {
        key: (one["value"], one["source"], one["from"])
        for key, one in found.items()
        if one["source"] != "default"
    }
    assert told == {
        "tree.gap": (7, "file", str(file)),
        "tree.fanout": (8, "variable", "PCT_TREE__FANOUT"),
        "http.bind": ("127.0.0.1:1", "file", str(file)),
        "kafka.broker": ("h:1", "variable", "PCT_BROKER"),
        "store.dir": (str(tmp_path), "command line", "the command line"),
    }
    assert set(settings("--changed", "--config", str(file))) == {
        "tree.gap", "tree.fanout", "http.bind",
    }  # fmt: skip
    by_variable = settings(PCT_DATA_DIR=str(tmp_path))["store.dir"]
    assert (by_variable["source"], by_variable["from"]) == ("variable", "PCT_DATA_DIR")


def test_the_broker_that_runs_here_is_told(tmp_path: Path) -> None:
    known = {"bootstrap": "127.0.0.1:1234", "pid": os.getpid(), "port": 1234}
    (tmp_path / "broker.json").write_text(json.dumps(known))
    broker = settings("--data-dir", str(tmp_path))["kafka.broker"]
    assert (broker["value"], broker["source"]) == ("127.0.0.1:1234", "broker.json")


@pytest.mark.parametrize("words", [(), ("--json",), ("--toml",), ("--changed",)])
def test_no_secret_is_ever_printed(words: tuple[str, ...]) -> None:
    printed = said(*words, **SECRET)
    assert "hunter2" not in printed
    if "--toml" not in words:
        assert "sasl.password" in printed


def test_the_toml_is_the_same_configuration(tmp_path: Path) -> None:
    file = tmp_path / "written.toml"
    given = {"PCT_SHARDS__COUNT": "3", "PCT_TREE__EPSILON": "0.5", "PCT_SPATIAL__X": 'a "b"'}
    file.write_text(said("--toml", "--data-dir", str(tmp_path), **given))
    wanted = load(None, given, {"store.dir": str(tmp_path)})
    assert load(file, {}) == wanted
    file.write_text(said("--toml", "--data-dir", str(tmp_path), **given, **SECRET))
    assert load(file, {}) == wanted
    assert load(file, SECRET).kafka.client["sasl.password"] == "hunter2"
    file.write_text(said("--toml", "--changed", "--data-dir", str(tmp_path), **given))
    assert load(file, {}) == wanted


def test_piped_it_is_a_line_a_setting() -> None:
    head, *lines = [line.split("\t") for line in said(PCT_TREE__GAP="7").splitlines()]
    assert tuple(head) == COLUMNS
    assert [line[0] for line in lines] == list(SETTINGS)
    assert {len(line) for line in lines} == {len(COLUMNS)}
    (gap,) = [line for line in lines if line[0] == "tree.gap"]
    assert gap == ["tree.gap", "7", "1000", "rows", "variable", "PCT_TREE__GAP",
                   SETTINGS["tree.gap"].why]  # fmt: skip


def test_on_a_terminal_it_is_a_table() -> None:
    ours, theirs = pty.openpty()
    env = {"PATH": os.environ["PATH"], "PCT_TREE__GAP": "7", "COLUMNS": "60", "LINES": "24",
           "PYTHONPATH": os.environ.get("PYTHONPATH", "")}  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "pctstream", "config", "--changed"], stdout=theirs, env=env
    ) as running:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # how Linux tells the end of a terminal
            pass
        assert running.wait(60) == 0
    os.close(ours)
    text = shown.decode()
    assert "[tree]" in text
    assert "tree.gap  7 rows  <- PCT_TREE__GAP, default 1000" in text
    assert "\t" not in text
