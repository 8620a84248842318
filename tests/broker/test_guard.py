"""Nobody is let in who was not given a right: SCRAM, TLS and ACLs on a real broker, tokens and TLS on HTTP.

One broker and one system for all of it: four principals, each with nothing but the rights that
`pctstream.rights` gives its role, and secrets whose every appearance would be seen.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from broker.secured import SecuredBroker, certificate
from broker.system import free_port, mixture, wait_for

from pctstream import config, rights, trust
from pctstream.config import toml_value
from pctstream.rights import Role

ROWS = 3000
CANARY = "canary-Kx7Qz"
EVERY = bool(os.environ.get("PCT_RIGHTS"))


class Guarded:
    """Commands against one broker, each as the principal of its role."""

    def __init__(self, broker: SecuredBroker, folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self.tree = f"t{os.getpid()}-guard"
        self.cert, self.key = certificate(folder)
        self.token = folder / "token"
        self.token.write_text(f"{CANARY}-token\n")
        self.bind = f"127.0.0.1:{free_port()}"
        self.said: list[str] = []
        """Everything that a command printed."""
        self.settings: dict[str, object] = {
            "tree.name": self.tree, "shards.count": 2, "tree.epsilon": 8.0, "tree.gap": 300,
            "kafka.broker": broker.tls, "http.bind": self.bind, "http.token_file": str(self.token),
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

    @contextmanager
    def worker(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        log = self.folder / "worker.log"
        with log.open("ab") as out:
            started = subprocess.Popen(
                [sys.executable, "-m", "pctstream", "worker", *words],
                env=self.env("worker"), stdout=out, stderr=out,
            )  # fmt: skip
        try:
            wait_for("a worker that is ready", lambda: self._ready(started, log))
            yield started
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(30)
            finally:
                started.kill()

    def _ready(self, worker: subprocess.Popen[bytes], log: Path) -> bool:
        assert worker.poll() is None, log.read_text()[-3000:]
        return self.get("/readyz").status_code == 200

    def get(self, path: str, **how: Any) -> httpx.Response:
        return httpx.get(
            f"https://{self.bind}{path}", timeout=10, **(trust.calling(self.cfg) | how)
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    broker = SecuredBroker(tmp_path_factory.mktemp("secured"))
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
    with guarded.worker("-l", "debug") as worker:
        code, _, why = guarded.run("producer", "feed", str(rows))
        assert code == 0, why
        wait_for("portions", lambda: guarded.get("/v1/portions").json()["portions"])
        code, said, why = guarded.run("reader", "verify", "--json", "--deep")
        assert code == 0, why
        verdict = json.loads(said)
        assert (verdict["ingested"], verdict["applied"]) == (ROWS, ROWS)
        assert listening(worker.pid) == {("tcp", guarded.bind)}
        only_over_tls(guarded)
        nothing_without_the_token(guarded)
        a_token_is_changed(guarded)
        nothing_fetches_an_address(guarded)
        nobody_says_a_secret(guarded)


def listening(pid: int) -> set[tuple[str, str]]:
    """(protocol, address) of everything that this process takes connections or datagrams on."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
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
        httpx.get(f"http://{guarded.bind}/livez", timeout=5)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://{guarded.bind}/livez", timeout=5)


def calls(guarded: Guarded) -> list[tuple[str, str]]:
    """Every (method, path) of the OpenAPI document."""
    document = guarded.get("/openapi.json").json()
    return [(m.upper(), path) for path, of in document["paths"].items() for m in of]


def nothing_without_the_token(guarded: Guarded) -> None:
    bare = httpx.Client(base_url=trust.url(guarded.cfg), verify=trust.trusted(guarded.cert))
    with bare:
        for shown in ({}, {"Authorization": "Bearer another"}, {"Authorization": "Basic YTpi"}):
            for method, path in [*calls(guarded), ("GET", "/openapi.json"), ("GET", "/docs")]:
                answer = bare.request(method, path, headers=shown)
                wanted = 200 if path in ("/livez", "/readyz") else 401
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
        assert guarded.run("reader", "status", "--json")[0] == 0
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
    for words in (
        ("config",), ("config", "--json"), ("config", "--toml"), ("doctor", "--look", "0"),
        ("doctor", "--json", "--look", "0"), ("status",), ("topics", "plan", "--debug"),
        ("query", "cover", "0", "--debug"), ("verify", "--debug"),
    ):  # fmt: skip
        guarded.run("worker", *words)
    bad = {"sasl.password": f"{CANARY}-wrong", "sasl.pasword": CANARY, "ssl.key.pem": CANARY}
    for key, value in bad.items():
        client = guarded.broker.client("worker", f"{CANARY}-worker", True) | {key: value}
        code = guarded.run("worker", "worker", "--debug", PCT_KAFKA__CLIENT=toml_value(client))[0]
        assert code in (1, 2, 4), (key, code)
    guarded.run("worker", "status", "--debug", PCT_KAFKA__CLIENT=f'{{"sasl.password" = {CANARY}')
    said = dict(enumerate(guarded.said))
    assert not [text for text in said.values() if CANARY in text]
    for method, path in calls(guarded):
        if method == "GET":
            assert CANARY not in guarded.get(path).text
    files = [p for p in guarded.folder.rglob("*") if p.is_file() and p != guarded.token]
    assert not [p for p in files if CANARY.encode() in p.read_bytes()]
