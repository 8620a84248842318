"""What the doctor finds on this machine, without a broker (tests/broker/test_doctor.py has one)."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from pctstream import jars
from pctstream.commands.doctor import doctor_command
from pctstream.config import Config, load
from pctstream.core.records import tree_record
from pctstream.core.routing import Routing
from pctstream.doctor import cluster, machine, outlast, place, serving
from pctstream.doctor.finding import Finding, exit_code, fail, ok, warn
from pctstream.doctor.outlast import Look, Rows
from pctstream.doctor.rounds import guarded

GIB = 1 << 30


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("PCT_")]:
        monkeypatch.delenv(name)


def without(monkeypatch: pytest.MonkeyPatch, folder: Path, **programs: str) -> None:
    """A PATH with nothing on it but these shell scripts."""
    folder.mkdir()
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def rounds(*words: str) -> tuple[int, dict[str, Finding]]:
    """The exit code, and the findings by the check's name."""
    done = CliRunner().invoke(doctor_command, [*words, "--look", "0", "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    found = json.loads(done.stdout)["checks"]
    return done.exit_code, {f["check"]: Finding(*list(f.values())) for f in found}


def test_a_machine_without_java_maven_and_jars(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch, tmp_path / "bin")
    monkeypatch.setenv("PCT_JARS", str(tmp_path / "jars"))
    code, found = rounds("--data-dir", str(tmp_path / "data"))
    assert (code, found["java"].state, found["maven"].state) == (1, "fail", "fail")
    for check in ("java", "maven"):
        assert jars.INSTALL in found[check].fix
        assert "PCT_BROKER" in found[check].fix
        assert str(found[check]).count("\n") == 0
    assert (found["jars"].state, "broker --fetch" in found["jars"].fix) == ("warn", True)
    assert found["python"].state == found["packages"].state == "ok"


def test_where_a_broker_is_named_neither_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch, tmp_path / "bin")
    monkeypatch.setenv("PCT_JARS", str(tmp_path / "jars"))
    monkeypatch.setenv("PCT_BROKER", "127.0.0.1:9")
    code, found = rounds("--data-dir", str(tmp_path / "data"))
    for check in ("java", "maven", "jars"):
        assert (found[check].state, "named" in found[check].said) == ("ok", True)
    assert (code, found["broker"].state) == (3, "fail")
    assert "nobody listens there; start it, or name another" in found["broker"].said
    assert "topics" not in found


def test_maven_is_not_missed_where_the_jars_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch, tmp_path / "bin")
    monkeypatch.setenv("PCT_JARS", str(tmp_path))
    for name in (f"kafka_2.13-{jars.KAFKA}.jar", "log4j-slf4j-1.jar"):
        (tmp_path / name).touch()
    assert machine.maven(True).state == machine.broker_jars(True).state == "ok"


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        ("echo 'openjdk version \"21.0.2\" 2024-01-16' >&2", "ok", "Java 21"),
        ("echo 'openjdk version \"17\" 2021-09-14' >&2", "ok", "Java 17"),
        ("echo 'openjdk version \"11.0.9\" 2020-10-20' >&2", "fail", "Java 11, too old"),
        ("echo 'java version \"1.8.0_392\"' >&2", "fail", "Java 8, too old"),
        ("echo 'Unable to locate a Java Runtime' >&2; exit 1", "fail", "does not run"),
    ],
)
def test_which_java_will_do(
    script: str, state: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch, tmp_path / "bin", java=script)
    found = machine.java(True)
    assert (found.state, said in found.said) == (state, True)


def test_packages_that_are_missing_or_too_old_are_named() -> None:
    wanted = [Requirement(r) for r in ("click>=8", "click>=9999", "nobody-made-this>=1")]
    said = machine.unmet(wanted)
    assert [line.split()[0] for line in said] == ["click", "nobody-made-this"]
    assert "(needed >=9999)" in said[0]
    assert machine.listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_the_limits_of_files_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = load(None, {}, {"shards.count": 1}), load(None, {}, {"shards.count": 1024})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        assert machine.open_files(few).state == "ok"
        assert machine.open_files(many).state == "warn"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    huge = load(None, {}, {"store.cache_bytes": 1 << 40})
    assert machine.memory(huge, 2, True, False).state == "warn"
    assert "cache_bytes" in machine.memory(huge, 2, True, False).fix
    assert machine.memory(few, 1, False, False).state == "ok"


def config(folder: Path, **more: object) -> Config:
    given = {key.replace("__", "."): value for key, value in more.items()}
    return load(None, {}, {"store.dir": str(folder), **given})


def test_a_port_is_free_or_somebody_has_it(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        other.listen()
        cfg = config(tmp_path, http__bind=f"127.0.0.1:{port}")
        (taken,) = serving.port_findings(cfg, 1)
        assert (taken.state, "--http" in taken.fix) == ("fail", True)
        assert sys.platform != "linux" or f"pid {os.getpid()}" in taken.said
        # what `up` wrote down is ours
        known = {"workers": [f"http://127.0.0.1:{port}"], "pids": [os.getpid()]}
        (tmp_path / "workers.json").write_text(json.dumps(known))
        (ours,) = serving.port_findings(cfg, 1)
        assert (ours.state, f"pid {os.getpid()}" in ours.said) == ("ok", True)
    (tmp_path / "workers.json").unlink()
    (free,) = serving.port_findings(cfg, 1)
    assert (free.state, "free" in free.said) == ("ok", True)
    last = serving.port_findings(config(tmp_path, http__bind="127.0.0.1:65535"), 2)[1]
    assert (last.state, last.check) == ("fail", "port 65536")


def test_a_data_directory_that_cannot_be_used(tmp_path: Path) -> None:
    assert place.directory(tmp_path).state == "ok"
    assert [*tmp_path.iterdir()] == []
    new = place.directory(tmp_path / "a" / "b")
    assert (new.state, (tmp_path / "a").exists()) == ("ok", False)
    (tmp_path / "file").touch()
    assert place.directory(tmp_path / "file").state == "fail"
    assert place.directory(tmp_path / "file" / "data").state == "fail"
    assert place.directory(Path("/proc/1/data")).state == "fail"


LOCKER = """
import fcntl, sys
file = open(sys.argv[1], "wb")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_stores_and_who_holds_them(tmp_path: Path) -> None:
    cfg = config(tmp_path, shards__count=4)
    assert place.stores(cfg).state == "ok"
    for name in ("0", "1", "1.1"):
        (tmp_path / "shards" / name).mkdir(parents=True)
        (tmp_path / "shards" / name / "LOCK").touch()
    found = place.stores(cfg)
    assert (found.state, found.said) == (
        "warn", "2 of 4 shards have a store here, 0 in use, 1 left over from a takeover",
    )  # fmt: skip
    held = tmp_path / "shards" / "0" / "LOCK"
    with subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(held)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert place.stores(cfg).said == "2 of 4 shards have a store here, 1 in use"
        other.communicate()
    assert place.stores(config(tmp_path, shards__count=1)).state == "fail"


def test_how_long_a_disk_lasts() -> None:
    still = Look(0.0, 10 * GIB, 100 * GIB)
    # 10 GiB for 10,000,000 rows are 1,074 bytes each: 100 GiB at 1,000 rows/s are 100,000 s
    found = outlast.outlast(still, Look(2.0, 10 * GIB, 100 * GIB), Rows(10_000_000, 1000.0), True)
    assert (found.state, "it lasts 28 h" in found.said) == ("warn", True)
    assert "room for 100,000,000 more" in found.said
    # nobody answers: 1 GiB in 10 s, 99 GiB left
    found = outlast.outlast(still, Look(10.0, 11 * GIB, 99 * GIB), Rows(), False)
    assert (found.state, "it lasts 16 min" in found.said) == ("warn", True)
    assert "the broker's disk is not seen" in found.said
    found = outlast.outlast(still, Look(2.0, 10 * GIB, 100 * GIB), Rows(10_000_000, 1.0), True)
    assert (found.state, "it lasts 3 years" in found.said) == ("ok", True)
    found = outlast.outlast(still, Look(2.0, 10 * GIB, GIB // 2), Rows(), True)
    assert (found.state, "did not grow" in found.said) == ("fail", True)


def test_what_a_directory_takes_on_the_disk(tmp_path: Path) -> None:
    before = Look.at_now(tmp_path / "absent")
    assert (before.used, before.free > 0) == (0, True)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "rows").write_bytes(os.urandom(1 << 20))
    with (tmp_path / "index").open("wb") as sparse:
        sparse.truncate(1 << 30)
    assert 1 << 20 <= Look.at_now(tmp_path).used < 2 << 20


def test_a_local_broker_that_was_killed_is_told_from_none(tmp_path: Path) -> None:
    assert cluster.local(tmp_path).state == "ok"
    (tmp_path / "broker.json").write_text('{"bootstrap": "127.0.0.1:1", "pid": 999999999}')
    _, found = rounds("--data-dir", str(tmp_path))
    assert (found["broker"].state, "999999999" in found["broker"].said) == ("warn", True)
    (tmp_path / "broker.json").write_text("half")
    assert cluster.local(tmp_path).state == "fail"


def test_a_clock_behind_the_trees_records() -> None:
    log = Routing()
    log.fold(tree_record({"tree": "pct"}, 2, "a"), 0, 10_000.0)
    assert cluster.clock(log, 10_000.0).state == "ok"
    assert cluster.clock(log, 9_990.0).state == "ok"
    behind = cluster.clock(log, 9_000.0)
    assert (behind.state, "1,000 s behind" in behind.said) == ("warn", True)


def test_the_exit_code_is_the_worst() -> None:
    assert exit_code([]) == exit_code([ok("a", ""), warn("b", "", "")]) == 0
    assert exit_code([fail("a", "", ""), ok("b", "")]) == 1
    assert exit_code([fail("a", "", ""), fail("broker", "", exit_code=3)]) == 3


def test_a_check_that_cannot_be_made_does_not_end_the_rounds() -> None:
    def broken() -> Finding:
        raise PermissionError(13, "Permission denied")

    (found,) = guarded("place", broken)
    assert (found.state, "Permission denied" in found.said) == ("fail", True)


def test_for_people_a_line_each_and_a_sum(tmp_path: Path) -> None:
    done = CliRunner().invoke(doctor_command, ["--data-dir", str(tmp_path), "--look", "0"])
    *lines, last = done.stdout.splitlines()
    assert len(lines) > 10
    assert {line.split()[0] for line in lines} <= {"ok", "warn", "fail"}
    counted = [sum(line.startswith(state) for line in lines) for state in ("ok", "warn", "fail")]
    assert last == "{} ok, {} warn, {} fail".format(*counted)
