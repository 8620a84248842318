"""The ports of the workers, and what the workers that run here say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from pctstream import ports
from pctstream.allowed import split_address
from pctstream.config import Config
from pctstream.doctor.finding import Finding, fail, ok
from pctstream.doctor.outlast import Rows
from pctstream.running import alive
from pctstream.trust import calling
from pctstream.trust import url as address

ASK_S = 1.0


def known_workers(cfg: Config) -> dict[str, int]:
    """Pid by URL of the workers that `up` wrote down and that still run."""
    try:
        known = json.loads((Path(cfg.store.dir) / "workers.json").read_text())
        pairs = zip(known["workers"], known["pids"], strict=True)
        return {url: pid for url, pid in pairs if pid and alive(pid)}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def port_findings(cfg: Config, workers: int) -> list[Finding]:
    """One per worker: the port is free, ours, or somebody else's."""
    host, first = split_address(cfg.http.bind)
    if first == 0:
        return [ok("port 0", "each worker takes a free one")]
    ours = known_workers(cfg)
    shown = f"[{host}]" if ":" in host else host
    found = []
    for port in range(first, first + workers):
        url = address(cfg, f"{shown}:{port}")
        name = f"port {port}"
        if port > 65535:
            found.append(fail(name, "there is no such port", "set a lower http.bind"))
        elif url in ours:
            found.append(ok(name, f"a worker of this system, pid {ours[url]}"))
        elif ports.is_free(host, port):
            found.append(ok(name, f"free on {host}"))
        else:
            found.append(_taken(cfg, name, url, port))
    return found


def _taken(cfg: Config, name: str, url: str, port: int) -> Finding:
    fix = "end it, or take other ports with `--http HOST:PORT` (http.bind)"
    who = ports.holder(port)
    tree = _ask(cfg, url, "/v1/tree")
    if tree is None:
        return fail(name, f"taken by {who}", fix)
    if tree.get("name") == cfg.tree.name:
        return ok(name, f"a worker of the tree {cfg.tree.name}, started from elsewhere: {who}")
    return fail(name, f"taken by a worker of the tree {tree.get('name')}, {who}", fix)


def rows(cfg: Config) -> Rows:
    """What the first worker that answers counts."""
    for url in known_workers(cfg) or {address(cfg): 0}:
        tree, told = _ask(cfg, url, "/v1/tree"), _ask(cfg, url, "/v1/shards")
        if tree and told and tree.get("name") == cfg.tree.name:
            return Rows(int(tree["rows"]), sum(float(s["rate"]) for s in told["shards"]))
    return Rows()


def _ask(cfg: Config, url: str, path: str) -> dict[str, Any] | None:
    """A worker's answer; None from anybody who is none."""
    try:
        answer = httpx.get(f"{url}{path}", timeout=ASK_S, **calling(cfg))
        found = answer.json() if answer.status_code == 200 else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    return found if isinstance(found, dict) else None
