"""Nobody is let in who was not given a right: SCRAM, TLS and ACLs on a real broker, tokens and TLS on HTTP.

One broker and one system for all of it: four principals, each with nothing but the rights that
`pctstream.rights` gives its role, and secrets whose every appearance would be seen.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from broker.secured import SecuredBroker, certificate
from broker.system import free_port, mixture, wait_for
from confluent_kafka.admin import AdminClient

from pctstream import config, rights, trust
from pctstream.client import Client
from pctstream.config import toml_value
from pctstream.errors import Refused
from pctstream.rights import Right, Role

ROWS = 3000
CANARY = "canary-Kx7Qz"


class Guarded:
    """Commands against one broker, each as the principal of its role."""

    def __init__(self, broker: SecuredBroker, folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self.tree = f"t{os.getpid()}-guard"
        self.cert, self.key = certificate(folder)
        self.token = folder / "token"
        self.token.write_text(f"{CANARY}-token\n")
        first = free_port(2)
        self.binds = [f"127.0.0.1:{first}", f"127.0.0.1:{first + 1}"]
        self.said: list[str] = []
        """Everything that a command printed."""
        self.settings: dict[str, object] = {
            "tree.name": self.tree, "shards.count": 2, "tree.epsilon": 8.0, "tree.gap": 300,
            "kafka.broker": broker.tls, "http.bind": self.binds[0], "http.token_file": str(self.token),
            "http.cert_file": str(self.cert), "http.key_file": str(self.key),
            "http.ca_file": str(self.cert), "store.dir": str(folder / "data"),
            "drift.window_s": 1.0, "kafka.session_timeout_s": 6.0, "kafka.heartbeat_s": 1.0,
        }  # fmt: skip
        self.cfg = config.load(None, {}, self.settings)
        for role in rights.ROLES:
            broker.user(role, f"{CANARY}-{role}")
            broker.allow(role, rights.rights(self.cfg, role))

    def env(self, role: Role, tls: bool = True) -> dict[str, str]:
        given = self.settings | {
            "kafka.client": self.broker.client(role, f"{CANARY}-{role}", tls),
            "kafka.broker": self.broker.tls if tls else self.broker.sasl,
        }
        return {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]} | {
            f"PCT_{key.replace('.', '__').upper()}": toml_value(value)
            for key, value in given.items()
        }

    def run(self, role: Role, *words: str, tls: bool = True, **more: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pctstream", *words], env=self.env(role, tls) | more,
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        self.said += [done.stdout, done.stderr]
        return done.returncode, done.stdout, done.stderr

    def plain(self) -> str:
        client = self.broker.client("worker", f"{CANARY}-worker", True, "PLAIN")
        return toml_value(client)

    @contextmanager
    def workers(self, *words: str) -> Iterator[list[subprocess.Popen[bytes]]]:
        started: list[subprocess.Popen[bytes]] = []
        try:
            for i, bind in enumerate(self.binds):
                command = ["worker", "--name", f"worker-{i}", "--http", bind, *words]
                # the second says its password to the broker, and must to nobody else
                more = {"PCT_KAFKA__CLIENT": self.plain()} if i else {}
                with self.log(i).open("wb") as out:
                    started.append(subprocess.Popen(
                        [sys.executable, "-m", "pctstream", *command], env=self.env("worker") | more,
                        stdout=out, stderr=out,
                    ))  # fmt: skip
            for i, worker in enumerate(started):
                wait_for(f"worker {i}", lambda i=i, worker=worker: self._ready(i, worker))
            yield started
        finally:
            for worker in started:
                worker.terminate()
            for worker in started:
                try:
                    worker.wait(30)
                finally:
                    worker.kill()

    def _ready(self, number: int, worker: subprocess.Popen[bytes]) -> bool:
        assert worker.poll() is None, self.log(number).read_text()[-3000:]
        return self.get("/readyz", number).status_code == 200

    def log(self, number: int) -> Path:
        return self.folder / f"worker-{number}.log"

    def get(self, path: str, number: int = 0, **how: Any) -> httpx.Response:
        url = trust.url(self.cfg, self.binds[number])
        return httpx.get(f"{url}{path}", timeout=10, **(trust.calling(self.cfg) | how))

    def search(self, number: int) -> dict[str, Any]:
        body = {"vector": mixture(1)[0].tolist(), "k": 5, "exact": True}
        url = trust.url(self.cfg, self.binds[number])
        answer = httpx.post(f"{url}/v1/search", json=body, timeout=10, **trust.calling(self.cfg))
        return dict(answer.json())


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    broker = SecuredBroker(tmp_path_factory.mktemp("secured"), {"worker": f"{CANARY}-worker"})
    broker.start()
    try:
        yield Guarded(broker, tmp_path_factory.mktemp("guarded"))
    finally:
        broker.stop()


def test_from_feed_to_verify_with_the_rights_of_the_list(guarded: Guarded) -> None:
    """And whoever knows no token learns nothing, whatever is asked; a token is changed meanwhile."""
    rows = guarded.folder / "rows.npy"
    np.save(rows, mixture(ROWS))
    code, _, why = guarded.run("operator", "topics", "apply", tls=False)
    assert code == 0, why
    with guarded.workers("-l", "debug") as workers:
        code, _, why = guarded.run("producer", "feed", str(rows))
        assert code == 0, why
        wait_for("portions", lambda: guarded.get("/v1/portions").json()["portions"])
        code, said, why = guarded.run("reader", "verify", "--json", "--deep")
        assert code == 0, why
        verdict = json.loads(said)
        assert (verdict["ingested"], verdict["applied"]) == (ROWS, ROWS)
        folder = str(guarded.folder / "snapshots")
        code, _, why = guarded.run("keeper", "snapshot", folder, "--trim", "--trim-ingest")
        assert code == 0, why
        for number, worker in enumerate(workers):
            assert listening(worker.pid) == {("tcp", guarded.binds[number])}
            found = guarded.search(number)  # each has half of the shards and asks the other
            assert found["exact"] and len(found["results"]) == 5
        only_over_tls(guarded)
        a_program_asks(guarded)
        nothing_without_the_token(guarded)
        a_token_is_changed(guarded)
        nothing_fetches_an_address(guarded)
        nobody_says_a_secret(guarded)
        a_right_is_taken_back(guarded, workers)


def listening(pid: int) -> set[tuple[str, str]]:
    """(protocol, address) of everything that this process takes connections or datagrams on."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = set()
    for protocol, waits in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == waits and words[9] in inodes:
                host, _, port = words[1].partition(":")
                name = ".".join(str(b) for b in bytes.fromhex(host)[::-1])
                found.add((protocol, f"{name}:{int(port, 16)}"))
    return found


def only_over_tls(guarded: Guarded) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{guarded.binds[0]}/livez", timeout=5)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://{guarded.binds[0]}/livez", timeout=5)


def a_program_asks(guarded: Guarded) -> None:
    url, token = trust.url(guarded.cfg), f"{CANARY}-token"
    with Client(url, token=token, ca_file=guarded.cert) as tree:
        assert tree.tree().rows == ROWS
    with Client(url, token="another", ca_file=guarded.cert) as tree, pytest.raises(Refused):
        tree.tree()


def calls(guarded: Guarded) -> list[tuple[str, str]]:
    """Every (method, path) of the OpenAPI document."""
    document = guarded.get("/openapi.json").json()
    return [(m.upper(), path) for path, of in document["paths"].items() for m in of]


def nothing_without_the_token(guarded: Guarded) -> None:
    bare = httpx.Client(base_url=trust.url(guarded.cfg), verify=trust.trusted(guarded.cert))
    with bare:
        for shown in ({}, {"Authorization": "Bearer another"}, {"Authorization": "Basic YTpi"}):
            for method, path in [*calls(guarded), ("GET", "/docs"), ("GET", "/openapi.json")]:
                answer = bare.request(method, path, headers=shown)
                wanted = 200 if path in ("/livez", "/readyz", "/docs") else 401
                assert answer.status_code == wanted, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"


def a_token_is_changed(guarded: Guarded) -> None:
    """Added, made the first, the old one removed: nobody is refused before that, and nobody restarts."""
    old, new = f"{CANARY}-token", f"{CANARY}-second"

    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return guarded.get("/v1/tree", headers=headers).status_code

    for held, valid in (([old, new], {old, new}), ([new, old], {old, new}), ([new], {new})):
        draft = guarded.token.with_suffix(".draft")
        draft.write_text("\n".join(held) + "\n")
        draft.replace(guarded.token)
        assert {token for token in (old, new) if status(token) == 200} == valid
        assert guarded.search(0)["exact"]  # callers of ours show what is valid now, here and there
    guarded.token.unlink()
    assert status(new) == 200
    guarded.token.write_text(f"{new}\n")


def nothing_fetches_an_address(guarded: Guarded) -> None:
    """An address or a path in the place of any parameter: nobody comes to the address."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        address = f"http://127.0.0.1:{trap.getsockname()[1]}/x"
        document = guarded.get("/openapi.json").json()
        with httpx.Client(base_url=trust.url(guarded.cfg), **trust.calling(guarded.cfg)) as client:
            for path, of in document["paths"].items():
                for method, call in of.items():
                    asked = call.get("parameters", ())
                    body = (
                        call.get("requestBody", {}).get("content", {}).get("application/json", {})
                    )
                    fields = body.get("schema", {}).get("properties", {})
                    names = {p["name"] for p in asked} | set(fields)
                    assert not names & {"url", "uri", "path", "file", "host", "folder", "address"}
                    for hostile in (address, "/etc/passwd", "file:///etc/passwd"):
                        place = re.sub(r"{[^}]*}", quote(hostile, safe=""), path)
                        query = {p["name"]: hostile for p in asked if p["in"] == "query"}
                        answer = client.request(
                            method.upper(), place, params=query, json=dict.fromkeys(fields, hostile)
                        )
                        assert answer.status_code < 500 or answer.status_code == 503, place
                        assert "root:" not in answer.text
        with pytest.raises(TimeoutError):
            trap.accept()


def nobody_says_a_secret(guarded: Guarded) -> None:
    """Everything that was printed, answered or written: no part of a password or token is in it."""
    asked = [("config", "--json"), ("doctor", "--json", "--look", "0"), ("verify", "--debug")]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda words: guarded.run("worker", *words), asked))
    bad = {"sasl.password": f"{CANARY}-wrong", "ssl.key.pem": CANARY}
    for key, value in bad.items():
        client = guarded.broker.client("worker", f"{CANARY}-worker", True) | {key: value}
        code = guarded.run("worker", "worker", "--debug", PCT_KAFKA__CLIENT=toml_value(client))[0]
        assert code in (1, 2, 4), (key, code)
    guarded.run("worker", "config", "--debug", PCT_KAFKA__CLIENT=f'{{"sasl.password" = {CANARY}')
    assert not [text for text in guarded.said if CANARY in text]
    for method, path in calls(guarded):
        if method == "GET":
            assert CANARY not in guarded.get(path).text
    files = [p for p in guarded.folder.rglob("*") if p.is_file() and p != guarded.token]
    assert not [p for p in files if CANARY.encode() in p.read_bytes()]


def a_right_is_taken_back(guarded: Guarded, workers: list[subprocess.Popen[bytes]]) -> None:
    """From workers that run: they end, and say what it was."""
    state = Right("topic", f"{guarded.tree}.state", ("Write",), "")
    guarded.broker.forbid("worker", [state])
    assert [worker.wait(30) for worker in workers] == [4, 4]
    for number in range(len(workers)):
        assert f"we may not write {state.name}" in guarded.log(number).read_text()
    guarded.broker.allow("worker", [state])


def one_by_one(guarded: Guarded) -> Iterator[tuple[Role, Right]]:
    for role in rights.ROLES:
        for right in rights.rights(guarded.cfg, role):
            for operation in right.operations:
                yield role, replace(right, operations=(operation,))


def test_every_right_that_is_missing_is_named(guarded: Guarded) -> None:
    """Each of the list is taken away alone: the check says which, the others are not complained of."""
    admins = {}
    for role in rights.ROLES:
        client = guarded.broker.client(role, f"{CANARY}-{role}", True)
        where = {"bootstrap.servers": guarded.broker.tls, "log_level": 0}
        admins[role] = AdminClient({**where, **client})
        rights.check(admins[role], guarded.cfg, role)
    for role, right in one_by_one(guarded):
        guarded.broker.forbid(role, [right])

        def named(role: Role = role, right: Right = right) -> bool:
            found = list(rights.lacking(admins[role], rights.rights(guarded.cfg, role)))
            return [r.name for r in found] == [right.name] and set(right.operations) <= set(
                found[0].operations
            )

        wait_for(f"{role}: {right}", named, 10)
        guarded.broker.allow(role, [right])


def test_a_command_that_lacks_a_right_says_it_in_a_line(guarded: Guarded) -> None:
    rows = guarded.folder / "few.npy"
    np.save(rows, mixture(10))
    commands: dict[Role, tuple[str, ...]] = {
        "worker": ("worker",), "producer": ("feed", str(rows)), "reader": ("verify",),
        "operator": ("topics", "apply"), "keeper": ("snapshot", str(guarded.folder)),
    }  # fmt: skip
    lost = {role: rights.rights(guarded.cfg, role)[0] for role in commands}
    for role, right in lost.items():
        guarded.broker.forbid(role, [right])
    with ThreadPoolExecutor() as pool:
        ended = pool.map(lambda role: (role, guarded.run(role, *commands[role])), commands)
        for role, (code, _, said) in ended:
            assert (code, len(said.strip().splitlines())) == (4, 1), said
            assert lost[role].name in said and lost[role].operations[-1] in said
            assert "topics export --acl" in said
