"""`pctstream simulate` and the files that it reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pctstream.cli import cli
from pctstream.errors import UsageError
from pctstream.series import read_series

LOADS = [[9.0, 9.0, 1.0, 1.0]] * 6


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.toml"
    path.write_text("[shards]\ncount = 2\n[drift]\ntolerance = 1.2\nwindow_s = 10.0\n")
    return str(path)


def simulated(*args: str) -> dict[str, dict[str, object]]:
    done = CliRunner().invoke(cli, ["simulate", *args, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, dict[str, object]] = json.loads(done.output.splitlines()[-1])
    return found


def test_both_kinds_of_file_say_the_same(tmp_path: Path) -> None:
    names = ["N0.0", "N0,1", "N0.2", "N0.3"]
    table = tmp_path / "a.csv"
    header = ",".join(f'"{n}"' for n in names)
    table.write_text("\n".join([header, *(",".join(map(str, line)) for line in LOADS)]) + "\n")
    np.savez(tmp_path / "b.npz", loads=np.array(LOADS), portions=np.array(names))
    np.savez(tmp_path / "c.npz", loads=np.array(LOADS))
    for file in ("a.csv", "b.npz", "c.npz"):
        paths, loads = read_series(tmp_path / file)
        assert paths == [(0, i) for i in range(4)]
        assert loads.tolist() == LOADS


@pytest.mark.parametrize(
    "text",
    ["", "N0.0\n", "N0.0\n-1\n", "N0.0\nnan\n", "N0.0\nx\n", "N0.0\n1,2\n", "3\n1\n",
     "N0.0,N0.0\n1,2\n"],
)  # fmt: skip
def test_a_series_that_means_nothing_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UsageError):
        read_series(path)


def test_an_archive_without_loads_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", other=np.ones(3))
    with pytest.raises(UsageError, match="loads"):
        read_series(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"not a zip")
    with pytest.raises(UsageError):
        read_series(tmp_path / "b.npz")


def test_the_policy_of_the_file_is_what_is_tried(tmp_path: Path, policy: str) -> None:
    grows = np.array([[10.0, 10.0, 10.0, 10.0]] * 3 + [[40.0, 10.0, 10.0, 10.0]] * 20)
    path = tmp_path / "grows.npz"
    np.savez(path, loads=grows)
    found = simulated("--policy", policy, "--series", str(path), "--full", "70")
    assert found["never"]["moves"] == [] and found["never"]["overload_s"] == 20 * 10.0
    assert found["last"]["overload_s"] == 2 * 10.0
    assert found["perfect"]["overload_s"] == 0.0
    (move,) = found["perfect"]["moves"]  # type: ignore[misc]
    assert move["planned_s"] < 30.0 and "score" in move["why"]
    calm = Path(policy).read_text().replace("1.2", "2.0")
    Path(policy).write_text(calm)
    found = simulated("--policy", policy, "--series", str(path), "--full", "70")
    assert found["last"]["moves"] == [] and found["never"]["overload_s"] == 0.0


def test_a_made_up_series_and_the_table(policy: str) -> None:
    done = CliRunner().invoke(cli, ["simulate", "--policy", policy, "--series", "square"])
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.output.splitlines()[2:6]] == [
        "never",
        "last",
        "drift",
        "perfect",
    ]


def test_what_is_no_series_is_refused(policy: str) -> None:
    with pytest.raises(UsageError, match="hot-spot"):
        CliRunner().invoke(
            cli, ["simulate", "--policy", policy, "--series", "nothing"], catch_exceptions=False
        )
