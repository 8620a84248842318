"""The house's own rules: sizes, banned calls, targets that say what they do, a complete wheel."""

from __future__ import annotations

import ast
import os
import re
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from pctstream import broker, jars, packed

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "pctstream").rglob("*.py"))
EVERY_FILE = [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_module_is_long() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}
    assert statistics.median(lengths.values()) <= 150


def test_no_function_is_long() -> None:
    long = {
        f"{name_of(path)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= 60
    }
    assert long == {}


def test_modules_are_named_after_a_thing() -> None:
    shapeless = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
    assert [name_of(path) for path in MODULES if path.stem in shapeless] == []


def banned(tree: ast.AST) -> list[str]:
    """Ways to run what came in from outside (rule R13)."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names]
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [m for m in modules if m.split(".")[0] in {"pickle", "marshal", "shelve", "dill"}]  # fmt: skip # noqa: E501
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            loads = {"yaml.load", "yaml.unsafe_load", "joblib.load", "os.system"}
            if called in {"eval", "exec"} | loads:
                found.append(called)
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if keywords.get("allow_pickle") == "True" or keywords.get("shell") == "True":
                found.append(f"{called} with a dangerous keyword")
    return found


def test_the_ban_finds_what_it_is_for() -> None:
    source = "import pickle\nfrom pickle import loads\neval('1')\nnp.load(f, allow_pickle=True)\n"
    assert len(banned(ast.parse(source))) == 4


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("import pickle\n", "TID251"),
        ("import pickle\n\npickle.loads(b)\n", "S301"),
        ("import cloudpickle\n", "TID251"),
        ("from joblib import load\n", "TID251"),
        ("eval(text)\n", "S307"),
        ("exec(text)\n", "S102"),
        ("import httpx\n\nhttpx.get(url, verify=False)\n", "S501"),
        ("import subprocess\n\nsubprocess.run(text, shell=True)\n", "S602"),
    ],
)
def test_the_linter_refuses_it_too(source: str, rule: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--stdin-filename", "pctstream/x.py", "-"]
    done = subprocess.run(
        command, input=source, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1 and rule in done.stdout


@pytest.mark.parametrize("path", EVERY_FILE, ids=name_of)
def test_nothing_that_came_in_is_executed(path: Path) -> None:
    assert banned(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_every_make_target_says_what_it_does() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    inner = {"jars"}
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    helped = re.findall(r"^make (\w+) +\S", shown.stdout, re.MULTILINE)
    assert set(helped) == set(phony[1].split()) - inner
    wanted = "help setup demo test lint types bench dashboards chaos mutants up down clean"
    assert set(wanted.split()) <= set(helped)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = ROOT / ".ci" / "run"
    assert re.search(r"^make test\b", readme, re.MULTILINE)
    assert re.search(r"^make test <", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=name_of)
def test_a_test_is_skipped_only_where_something_is_missing(path: Path) -> None:
    """CI takes no other reason: a comparison that is asked for by a variable is defined by it."""
    reasons = re.findall(r"(?:pytest\.skip\(|skipif\([^\n]*?reason=)f?\"([^\"]*)", path.read_text())
    assert [r for r in reasons if not re.match("no |missing shared data$|.* on Linux$", r)] == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-image.lock"])
def test_the_lock_is_exact_has_a_hash_of_every_file_and_names_no_place(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    whole = re.sub(r" \\\n +", " ", text).splitlines()
    pins = [line for line in whole if line and not line.startswith("#")]
    shape = r"[A-Za-z0-9_.-]+==[^ ]+( ; [^-]*)?( --hash=sha256:[0-9a-f]{64})+"
    assert [pin for pin in pins if not re.fullmatch(shape, pin)] == []
    assert len(pins) > 40
    assert [line for line in whole if "://" in line or "/" in line.split("#")[0]] == []


def test_known_vulnerabilities_are_looked_for_in_what_is_locked() -> None:
    recipe = MAKEFILE.partition("\naudit:")[2].partition("\n\n")[0]
    # without --strict a package that could not be looked up would count as sound
    assert {"-r", "requirements.lock", "--require-hashes", "--strict"} <= set(recipe.split())


def test_the_broker_in_docker_is_set_like_the_local_one() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    service = compose["services"]["broker"]
    assert service["image"].endswith(f":{jars.KAFKA}")
    local = dict(
        line.split("=", 1) for line in broker._PROPERTIES.splitlines() if not line.startswith("#")
    )
    own_to_docker = {"listener.security.protocol.map", "heap.opts"}
    docker = {
        key.removeprefix("KAFKA_").replace("_", ".").lower(): value
        for key, value in service["environment"].items()
    }
    assert set(docker) - own_to_docker == set(local)
    places = {"listeners", "advertised.listeners", "log.dirs", "controller.quorum.voters"}
    assert {key: docker[key] for key in set(local) - places} == {
        key: value for key, value in local.items() if key not in places
    }


def test_the_wheel_has_everything_that_is_no_code(tmp_path: Path) -> None:
    build = f"import hatchling.build as b; print(b.build_wheel({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    kinds = {f"pctstream/topic_kinds/{path.name}" for path in packed.topic_kinds().iterdir()}
    data = {"pctstream/pom.xml", "pctstream/pctstream.example.toml", "pctstream/py.typed"}
    page = {name_of(path) for path in (ROOT / "pctstream/http/page").rglob("*") if path.is_file()}
    assert kinds | data | page | {name_of(path) for path in MODULES} <= names
    # Away from the checkout, the installed package finds its own copies.
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    look = "from pctstream import packed as p; print(p.topic_kinds(), p.example_config())"
    found = subprocess.run(
        [sys.executable, "-c", look],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    inside = tmp_path / "installed" / "pctstream"
    assert found == [str(inside / "topic_kinds"), str(inside / "pctstream.example.toml")]
    assert all(Path(path).exists() for path in found)
