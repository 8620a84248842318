"""The benchmarks run: each that needs no broker at a small size, what they keep, and the pictures of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
STREAM = {"bars": [], "machine": "", "found": [{
    "dimension": 128, "kind": "float32",
    "median": {"floor-1": 180_000.0, "system": 71_591.4, "faust-1": 5_000.0},
}]}  # fmt: skip


def ran(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=BENCHMARKS, env=os.environ | env,
                          text=True, capture_output=True, timeout=100)  # fmt: skip


def test_each_that_needs_no_broker_runs() -> None:
    done = ran("bench.py", "--small", "--no-broker")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("exit code") == 7


def test_a_benchmark_that_dies_is_told(tmp_path: Path) -> None:
    for file in BENCHMARKS.glob("*.py"):
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "codecs.py").unlink()
    (tmp_path / "codecs.py").write_text("raise ValueError('no bar was judged')\n")
    (tmp_path / "bench.py").unlink()
    (tmp_path / "bench.py").write_text((BENCHMARKS / "bench.py").read_text())
    done = ran(str(tmp_path / "bench.py"), "--small", "--only", "codecs")
    assert done.returncode == 2
    assert "did not end as they should: {'codecs': 1}" in done.stderr


def test_figures_replace_those_of_their_benchmark_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "figures.json"
    file.write_text(json.dumps({"other": 1, "this": 2}))
    code = (
        "from figures import Figures; f = Figures('this', 'numpy');"
        "f.least('rate', 3.0, 2.0); f.most('time', 3.0, 2.0); raise SystemExit(f.keep([1]))"
    )
    assert ran("-c", code, PCT_FIGURES=str(file)).returncode == 1
    kept = json.loads(file.read_text())
    assert kept["other"] == 1
    assert kept["this"]["found"] == [1]
    assert [bar["held"] for bar in kept["this"]["bars"]] == [True, False]


def test_pictures_show_every_number(tmp_path: Path) -> None:
    code = (
        f"import plots; from pathlib import Path; every = {{'end_to_end': {STREAM!r}}};"
        f"print(len(plots.draw(every, Path({str(tmp_path)!r}))))"
    )
    done = ran("-c", code)
    assert done.stdout.strip() == "1", done.stderr
    root = ElementTree.parse(tmp_path / "bench-end_to_end.svg").getroot()
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"pctstream", "71,600", "plain loop", "180,000", "Faust, only counts", "5,000"} <= set(
        texts
    )
    bars = [float(r.get("width", 0)) for r in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert bars[0] / bars[1] == pytest.approx(71_591.4 / 180_000, rel=0.01)
