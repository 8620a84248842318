"""What every command does with what goes wrong: one line, the right code, JSON where asked for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from pctstream import config
from pctstream.cli import main
from pctstream.errors import BrokerUnreachable, ConfigError, Refused
from pctstream.reach import reach, why_not
from pctstream.refusal import REFUSED, error_of

NOBODY = "127.0.0.1:9"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("PCT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PCT_DATA_DIR", str(tmp_path / "data"))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


WRONG = [
    (["bogus"], "No such command 'bogus'; see `pctstream --help`"),
    (["status", "--bogus"], "No such option: --bogus; see `pctstream status --help`"),
    (["up", "--workers", "many"], "'many' is not a valid integer range"),
    (["feed"], "Missing argument 'FILE'"),
    (["topics", "paint"], "'paint' is not one of"),
    (["query", "cover", "top"], "'top' is not a valid integer"),
    (["query", "neighbors", "1", "--max-distance", "1"], "name either --node or --center"),
    (["config", "--json", "--toml"], "either --json or --toml"),
    (["status", "--config", "absent.toml"], "absent.toml"),
    (["doctor", "--look", "-1"], "is not in the range"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_what_cannot_be_meant_is_one_line_and_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *words)
    if "--json" in words:
        assert said in json.loads(err)["error"]
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


COMMANDS = ["up", "worker", "broker", "topics plan", "feed x", "status", "query cover 1", "verify",
            "config", "doctor"]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_an_impossible_setting_is_refused_by_every_command(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PCT_TREE__GAP", "none")
    code, out, err = run(capsys, *command.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("pctstream: PCT_TREE__GAP: tree.gap = 'none' must be a whole number")


def test_with_json_an_error_is_json_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run(capsys, "verify", "--json")
    assert (code, out, json.loads(err)["code"]) == (3, "", "broker-unreachable")
    code, out, err = run(capsys, "status", "--json", "--bogus")
    assert (code, out, json.loads(err)["code"]) == (2, "", "usage")
    monkeypatch.setenv("PCT_TREE__GAP", "none")
    code, out, err = run(capsys, "topics", "export", "--json")
    assert (code, out, json.loads(err)["code"]) == (2, "", "config")


@pytest.mark.parametrize("words", [["--debug", "verify"], ["verify", "--debug"]])
def test_debug_shows_where_at_any_place(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *words)
    assert code == 3
    assert err.startswith("Traceback")
    assert "pctstream: no broker" in err.splitlines()[-1]


@pytest.mark.parametrize("command", ["worker", "feed x", "verify", "topics plan"])
def test_without_any_broker_it_is_3(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *command.split())
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "set PCT_BROKER" in err


def test_status_tells_a_missing_broker_from_missing_workers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PCT_HTTP__BIND", NOBODY)
    code, _, err = run(capsys, "status")
    assert (code, "is `pctstream up` running?" in err) == (1, True)
    monkeypatch.setenv("PCT_BROKER", NOBODY)
    code, _, err = run(capsys, "status")
    assert (code, err.count("\n")) == (3, 1)
    assert f"no Kafka at {NOBODY}: nobody listens there" in err


class Stranger(BaseHTTPRequestHandler):
    """A web server that knows nothing of trees."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/v1/tree" else 404)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.parametrize(("question", "said"), [
    (["status"], "is no worker of pctstream"), (["query", "cover", "1"], "<html>"),
])  # fmt: skip
def test_somebody_elses_server_is_no_traceback(
    question: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        code, _, err = run(capsys, *question, "--http", f"127.0.0.1:{server.server_port}")
        server.shutdown()
    assert (code, err.count("\n")) == (1, 1)
    assert said in err


@pytest.mark.parametrize("command", [["up"], ["worker"]])
def test_a_taken_port_is_said_before_anything_starts(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PCT_BROKER", NOBODY)
    gap = open(os.devnull)  # noqa: PTH123, SIM115
    with socket.socket() as other:
        # whoever lists our files takes the number that is free now, before that of the socket
        gap.close()
        other.bind(("127.0.0.1", 0))
        other.listen()
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        code, out, err = run(capsys, *command, "--http", bind)
    # for a worker it may be the one before it, which will have gone: `up` tries again
    assert (code, out, err.count("\n")) == (2 if command == ["up"] else 1, "", 1)
    assert "taken by" in err
    assert sys.platform != "linux" or f"pid {os.getpid()}" in err


def test_a_broker_that_is_not_there_is_3_in_time() -> None:
    cfg = config.load(None, {}, {"kafka.broker": NOBODY})
    with pytest.raises(BrokerUnreachable, match="nobody listens there; start it, or name another"):
        reach(cfg, "test", 0.5)
    cfg = config.load(None, {}, {"kafka.broker": "no.such.host.invalid:9092"})
    with pytest.raises(BrokerUnreachable, match="its name is not known here"):
        reach(cfg, "test", 0.5)


def test_of_all_that_was_heard_a_refusal_counts() -> None:
    away = KafkaError(KafkaError._TRANSPORT, "Connect failed: Connection refused")
    for code in REFUSED:
        told = why_not("h:1", [away, KafkaError(code, "who are you"), away], 1.0)
        assert isinstance(told, Refused)
        assert (told.exit_code, "who are you" in str(told)) == (4, True)


@pytest.mark.parametrize(
    ("code", "wanted", "exit_code"),
    [
        (KafkaError._TRANSPORT, BrokerUnreachable, 3),
        (KafkaError._TIMED_OUT, BrokerUnreachable, 3),
        (KafkaError._ALL_BROKERS_DOWN, BrokerUnreachable, 3),
        (KafkaError.REQUEST_TIMED_OUT, BrokerUnreachable, 3),
        (KafkaError._AUTHENTICATION, Refused, 4),
        (KafkaError._SSL, Refused, 4),
        (KafkaError.SASL_AUTHENTICATION_FAILED, Refused, 4),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Refused, 4),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, Refused, 4),
        (KafkaError.INVALID_REPLICATION_FACTOR, ConfigError, 2),
        (KafkaError.POLICY_VIOLATION, ConfigError, 2),
    ],
)
def test_what_kafkas_errors_are_to_a_shell(code: int, wanted: type, exit_code: int) -> None:
    told = error_of(KafkaError(code), "make a topic")
    assert type(told) is wanted
    assert (told.exit_code, "make a topic" in str(told)) == (exit_code, True)


def child(*words: str, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pctstream", *words], text=True, stderr=subprocess.PIPE,
        # as from a terminal: a runner of tests may ignore Ctrl-C, and what it starts would too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **how,
    )  # fmt: skip


def test_a_reader_that_went_away_is_no_error_message() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with child("config", stdout=writing) as running:
        os.close(writing)
        assert running.communicate(timeout=60)[1] == ""
        assert running.returncode == 1


def test_ctrl_c_is_quiet() -> None:
    with child("doctor", "--look", "60", stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        # everything but the disk has been looked at
        assert any(line.split()[1] == "broker" for line in running.stdout)
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=60)[1].strip() == ""
        assert running.returncode == 130


def test_a_shell_completes_commands_and_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, script, _ = run(capsys, "completion", "bash")
    assert code == 0 and "_PCTSTREAM_COMPLETE=bash_complete" in script
    monkeypatch.setenv("_PCTSTREAM_COMPLETE", "bash_complete")
    for words, wanted in (("pctstream mo", "plain,moves"), ("pctstream moves pi", "plain,pin"),
                          ("pctstream feed --wa", "plain,--wait")):  # fmt: skip
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        _, out, _ = run(capsys)
        assert out.splitlines() == [wanted]
