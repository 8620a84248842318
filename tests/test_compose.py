"""docker-compose.yml and Dockerfile as far as can be told without Docker: what they name is there."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from pctstream import config
from pctstream.cli import cli
from pctstream.token import headers

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: s for name, s in SERVICES.items() if "build" in s}
WORKERS = {name: s for name, s in OURS.items() if s["command"][0] == "worker"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
PINNED = r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
INSTRUCTIONS = re.findall(r"^([A-Z]+) (.*)$", DOCKERFILE, re.MULTILINE)
COPIED = [path for word, rest in INSTRUCTIONS if word == "COPY" and "--from" not in rest
          for path in rest.split()[:-1]]  # fmt: skip


def configured(service: dict[str, Any], token: Path) -> config.Config:
    """What the service's command would run with."""
    assert service["environment"]["PCT_HTTP__TOKEN_FILE"] == "/run/secrets/token"
    return config.load(None, service["environment"] | {"PCT_HTTP__TOKEN_FILE": str(token)})


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_bounded_and_reached_from_here_alone(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(PINNED, service["image"])
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)
    if service["restart"] == "unless-stopped":
        assert service["mem_limit"] and service["healthcheck"]["test"][0] == "CMD"
    allowed = {
        "image", "build", "init", "cap_drop", "security_opt", "command", "environment", "ports",
        "volumes", "secrets", "depends_on", "restart", "stop_grace_period", "mem_limit",
        "healthcheck",
    }  # fmt: skip
    assert set(service) <= allowed


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_names_is_there(name: str) -> None:
    service = SERVICES[name]
    for other, how in service.get("depends_on", {}).items():
        assert how["condition"] in CONDITIONS
        assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[other]
    for volume in service.get("volumes", []):
        source, target, *mode = volume.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (ROOT / source).exists() and mode == ["ro"], volume
        else:
            assert source in COMPOSE["volumes"]
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])


def test_every_volume_is_used_and_the_secret_is_made_and_kept_out_of_git() -> None:
    used = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}
    assert set(COMPOSE["volumes"]) == {name for name in used if not name.startswith(".")}
    file = COMPOSE["secrets"]["token"]["file"].removeprefix("./")
    assert re.search(rf"^{file}:$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert "/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", OURS)
def test_our_commands_and_settings_are_known(name: str, tmp_path: Path) -> None:
    service = OURS[name]
    token = tmp_path / "token"
    token.write_text("a secret")
    cfg = configured(service, token)
    assert headers(cfg) == {"Authorization": "Bearer a secret"}
    assert str(cfg.store.dir) == "/data"
    inside = SERVICES["broker"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert f"INSIDE://{cfg.kafka.broker}" in inside
    first, *rest = service["command"]
    command = cli.get_command(click.Context(cli), first)
    assert command is not None
    command.make_parser(click.Context(command)).parse_args(list(rest))
    assert service["image"].split(":")[1] == project()["version"]


def test_two_workers_each_with_a_name_and_a_port_of_its_own(tmp_path: Path) -> None:
    assert len(WORKERS) == 2
    for name, service in WORKERS.items():
        host, _, port = configured(service, tmp_path).http.bind.rpartition(":")
        assert (host, service["ports"]) == ("0.0.0.0", [f"127.0.0.1:{port}:{port}"])
        assert f"127.0.0.1:{port}/readyz" in service["healthcheck"]["test"][-1]
        assert service["command"][1:] == ["--name", name]
        assert service["depends_on"]["topics"]["condition"] == "service_completed_successfully"
    assert SERVICES["topics"]["depends_on"]["broker"]["condition"] == "service_healthy"


def test_prometheus_asks_exactly_the_workers_with_the_token() -> None:
    mounted = dict(reversed(v.split(":")[:2]) for v in SERVICES["prometheus"]["volumes"])
    document = yaml.safe_load((ROOT / mounted["/etc/prometheus/prometheus.yml"]).read_text("utf-8"))
    (job,) = document["scrape_configs"]
    for rules in document["rule_files"]:
        assert Path(mounted[f"/etc/prometheus/{rules}"]) == Path("dashboards") / rules
    asked = [target for group in job["static_configs"] for target in group["targets"]]
    binds = {n: s["environment"]["PCT_HTTP__BIND"].split(":")[1] for n, s in WORKERS.items()}
    assert sorted(asked) == sorted(f"{name}:{port}" for name, port in binds.items())
    assert job["authorization"]["credentials_file"] == "/run/secrets/token"
    assert "token" in SERVICES["prometheus"]["secrets"]


def test_grafana_is_given_what_it_looks_for() -> None:
    mounted = dict(v.split(":")[:2] for v in SERVICES["grafana"]["volumes"])
    places = {target: ROOT / source for source, target in mounted.items()}
    given = places["/etc/grafana/provisioning"]
    (provider,) = yaml.safe_load((given / "dashboards" / "pctstream.yml").read_text())["providers"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    folder, _, file = home.rpartition("/")
    assert folder == provider["options"]["path"] and (places[folder] / file).is_file()
    (source,) = yaml.safe_load((given / "datasources" / "pctstream.yml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")


def project() -> dict[str, Any]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(document["project"])


def test_the_image_is_pinned_of_two_stages_and_not_roots() -> None:
    stages = [rest for word, rest in INSTRUCTIONS if word == "FROM"]
    assert len(stages) == 2
    assert all(re.fullmatch(PINNED, stage.split()[0]) for stage in stages)
    last = INSTRUCTIONS[max(i for i, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM") :]
    words = dict(last)
    user = words["USER"]
    assert user != "root" and re.search(rf"useradd .*\b{user}\b", DOCKERFILE)
    assert words["ENTRYPOINT"] == '["pctstream"]'
    assert f"-o {user} " in DOCKERFILE and " /data" in DOCKERFILE
    for rest in (rest for word, rest in last if word == "COPY"):
        assert rest.startswith("--from=build ")


def test_the_build_gets_all_it_needs_and_nothing_else() -> None:
    assert [path for path in COPIED if not (ROOT / path).exists()] == []
    packed = re.findall(r'^ +"([\w.]+)": "pctstream/', (ROOT / "hatch_build.py").read_text(), re.M)
    needed = {"pyproject.toml", "hatch_build.py", "requirements-image.lock", "pctstream", *packed}
    assert len(packed) == 2
    assert needed | {project()["readme"], *project()["license-files"]} == set(COPIED)
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in rules
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    assert sorted(let_in) == sorted(COPIED)
    assert not any(fnmatch(secret_, rule) for rule in let_in for secret_ in ("secrets", ".git"))


def test_every_version_in_the_image_is_the_locked_one() -> None:
    runs = [rest for word, rest in INSTRUCTIONS if word == "RUN"]
    installs = [run for run in runs if "pip install" in run]
    assert "--require-hashes -r requirements-image.lock" in installs[0]
    assert {"--no-build-isolation", "--no-deps"} <= set(installs[1].split())
    assert len(installs) == 2
    lock, image = (
        set(
            re.findall(
                r"^[a-z0-9._-]+==.*?(?= \\)", (ROOT / name).read_text().lower(), re.MULTILINE
            )
        )
        for name in ("requirements.lock", "requirements-image.lock")
    )
    assert image < lock
    names = {pin.partition("==")[0] for pin in image}
    assert {re.split(r"[\[=<>]", one)[0] for one in project()["dependencies"]} < names
    assert "hatchling" in names and "pytest" not in names
