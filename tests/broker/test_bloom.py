"""Rows by id on two workers: none is denied, few shards are asked, whatever moves, dies or is damaged.

`PCT_BLOOM=rows/moves/absent` makes it as long as one likes, `PCT_FRESH=n` looks for n rows as they come:
100000/20/10000 and 500 are written down in benchmarks/RESULTS.md.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from broker.system import System, mixture, wait_for
from broker.test_moves import dropped, ended, hosts, start

from pctstream.client import Producer
from pctstream.core.keys import hashes64
from pctstream.core.published import unpack
from pctstream.rocks import RocksKV

ROWS, MOVES, ABSENT = (int(n) for n in os.environ.get("PCT_BLOOM", "2500/1/250").split("/"))
FRESH = int(os.environ.get("PCT_FRESH", "5"))
FPR, SHARDS = 0.01, 4
LONG = ROWS > 10_000
SOME = 2000 if LONG else 80


class Ids:
    """A system, and what was answered of ids."""

    def __init__(self, one: System) -> None:
        self.one = one
        self._http = httpx.Client(timeout=20.0, limits=httpx.Limits(keepalive_expiry=1.0))

    def close(self) -> None:
        self._http.close()

    def ask(self, name: str, number: int) -> httpx.Response | None:
        """None where the worker is not there."""
        try:
            return self._http.get(f"http://127.0.0.1:{self.one.ports[number]}/v1/rows/{name}")
        except httpx.HTTPError:
            return None

    def nearest(self, row: Any, number: int) -> str:
        url = f"http://127.0.0.1:{self.one.ports[number]}/v1/search"
        found = self._http.post(url, json={"vector": row.astype(float).tolist(), "k": 1}).json()
        return str(found["results"][0]["id"]) if found.get("results") else ""

    def all_there(self, names: list[str]) -> list[dict[str, Any]]:
        """Every one of these, from both workers in turn; late ones are asked again."""

        def one(at: int) -> dict[str, Any]:
            def found() -> Any:
                answer = self.ask(names[at], at % 2)
                assert answer is None or answer.status_code in (200, 503, 504), answer.text
                return answer.json() if answer is not None and answer.status_code == 200 else None

            said: dict[str, Any] = wait_for(f"the row {names[at]}", found, 40)
            assert said["id"] == names[at] and sum(said["bloom"].values()) == SHARDS
            return said

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(one, range(len(names))))

    def denied(self) -> int:
        """Ids of all rows fed that every filter denies, whole filters being pulled as workers do."""
        might = np.zeros(ROWS, np.bool_)
        hashes = hashes64(pa.array(NAMES))
        for url in self.one.urls:
            body = {"seconds": 10, "known": []}
            raw = self._http.post(f"{url}/v1/shards/filters", json=body).content
            for part in unpack(raw):
                might |= part.bloom().might(hashes)
        return int(ROWS - might.sum())

    def lookups(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for url in self.one.urls:
            text = httpx.get(f"{url}/metrics", timeout=10.0).text
            for result, value in re.findall(r'^pct_bloom_lookups_total{result="(\w+)"} (\S+)', text, re.M):  # fmt: skip # noqa: E501
                found[result] += int(float(value))
        return found

    def keys(self) -> int:
        return sum(s["bloom"]["keys"] for s in self.one.get("/v1/shards")["shards"])

    def asked_for_absent(self, count: int) -> float:
        """Shards asked for an id that there is not, of all."""
        before = self.lookups()

        def one(at: int) -> int:
            answer = self.ask(f"absent-{at}", at % 2)
            return 0 if answer is None else answer.status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(one, range(count))) == {404}
        came = self.lookups() - before
        assert came["asked"] + came["skipped"] == SHARDS * count
        assert came["asked"] >= came["false_positive"]
        return came["asked"] / (SHARDS * count)


class Asking:
    """Asks for ids that are there, all the time, until it is left."""

    def __init__(self, ids: Ids, names: list[str]) -> None:
        self.codes: Counter[int] = Counter()
        self.denied: list[str] = []
        self._ids, self._names = ids, names
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(2)]

    def _run(self, number: int) -> None:
        rng = random.Random(number)
        while not self._stop.is_set():
            name = rng.choice(self._names)
            answer = self._ids.ask(name, number)
            self.codes[0 if answer is None else answer.status_code] += 1
            if answer is not None and answer.status_code not in (200, 503, 504):
                self.denied.append(f"{name}: {answer.text}")

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


@pytest.fixture(scope="module")
def ids(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ids]:
    settings: dict[str, object] = {
        "shards.count": SHARDS, "tree.epsilon": 8.0, "tree.gap": 500, "tree.epsilon_ratio": 0.01,
        "moves.grace_s": 1.0, "bloom.fpr": FPR,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("bloom")
    one = System(broker.bootstrap, f"t{os.getpid()}-bloom", folder, settings)
    ids = Ids(one)
    try:
        one.start(0, 1)
        one.feed(mixture(ROWS))
        wait_for("portions", lambda: one.get("/v1/portions")["portions"])
        one.settle()
        wait_for("N0 to forget what it handed down", lambda: ids.keys() < 1.02 * ROWS)
        yield ids
    finally:
        ids.close()
        one.stop()


NAMES = [str(i) for i in range(ROWS)]


def test_every_row_is_found_and_few_shards_are_asked(ids: Ids) -> None:
    told = ids.one.get("/v1/shards")["shards"]
    assert all(set(s["bloom"]) == {"bits", "keys", "fpr"} for s in told)
    found = ids.all_there(random.Random(1).sample(NAMES, SOME))
    assert sum(f["bloom"]["asked"] for f in found) <= (1.0 + 2 * SHARDS * FPR) * len(found)
    assert ids.denied() == 0
    rate = ids.asked_for_absent(ABSENT)
    print(f"absent: {rate:.5f} of the shards were asked")
    assert rate <= 1.5 * FPR + 3 * (FPR / (SHARDS * ABSENT)) ** 0.5


@pytest.mark.timeout(600)
def test_an_acked_row_can_be_found_soon(ids: Ids) -> None:
    by_id, by_search, one = [], [], ids.one
    with Producer(one.broker, one.tree, linger_s=0.0) as producer:
        for i, row in enumerate(mixture(FRESH, seed=9)):
            producer.add(row, id=f"fresh-{i}")
            producer.flush()
            begun = time.monotonic()
            wait_for("the row", lambda i=i: ids.ask(f"fresh-{i}", i % 2).status_code == 200, 20)  # type: ignore[union-attr]
            by_id.append(time.monotonic() - begun)
            wait_for("it to be near itself", lambda i=i, row=row: ids.nearest(row, i % 2) == f"fresh-{i}", 20)  # type: ignore[misc] # fmt: skip # noqa: E501
            by_search.append(time.monotonic() - begun)
    one.fed += FRESH
    for what, took in (("by id", sorted(by_id)), ("by search too", sorted(by_search))):
        told = f"p50 {took[FRESH // 2]:.3f} s, p99 {took[FRESH * 99 // 100]:.3f}, at most {took[-1]:.3f}"
        print(f"acked to found {what}: {told}")
    assert sorted(by_id)[FRESH // 2] < 2.0


@pytest.mark.timeout(1500 if LONG else 120)
def test_during_moves_nobody_is_denied(ids: Ids) -> None:
    one, rng = ids.one, random.Random(3)
    with Asking(ids, NAMES) as asking:
        for _ in range(MOVES):
            portion = rng.choice([p for p in one.get("/v1/portions")["portions"] if p["rows"]])
            places, source = hosts(one), portion["owner"]
            target = rng.choice([s for s in places if places[s] != places[source]])
            before = one.get(f"/v1/shards/{source}")["bloom"]["keys"]
            move = start(one, portion["portion"], target)
            ended(one, move["id"])
            dropped(one, move["id"])
    assert asking.denied == [] and asking.codes[200] > 20 * MOVES, asking.codes
    print(f"during {MOVES} moves: {dict(asking.codes)}")
    after = wait_for(
        "the source to forget",
        lambda: (k := one.get(f"/v1/shards/{source}")["bloom"]["keys"]) < before and [k],
    )
    assert before - after[0] >= 0.95 * portion["rows"]
    rate = ids.asked_for_absent(ABSENT)
    print(f"absent, after them: {rate:.5f}")
    assert rate <= 1.5 * FPR + 3 * (FPR / (SHARDS * ABSENT)) ** 0.5
    assert ids.denied() == 0
    found = ids.all_there(rng.sample(NAMES, SOME))
    moved = [f for f in found if f["portion"] == portion["portion"]]
    assert moved and {f["shard"] for f in moved} == {target}
    assert sum(f["bloom"]["asked"] for f in found) <= (1.0 + 2 * SHARDS * FPR) * len(found)


@pytest.mark.timeout(1500 if LONG else 120)
def test_nothing_is_denied_after_a_kill_and_by_damaged_filters(ids: Ids) -> None:
    one, some = ids.one, random.Random(5).sample(NAMES, SOME)
    with Asking(ids, NAMES) as asking:
        one.kill(1)
        # at once: its stores are nobody's until the session is over
        spoilt = [spoil(path) for path in shards_of(one, lambda s: s["worker"] == "worker-1")]
        assert any(spoilt), "no filter was saved"
        one.start(1)
        ids.all_there(some)
        wait_for("all filters", lambda: ids.denied() == 0, 60)
    assert asking.denied == [] and asking.codes[200], asking.codes
    wait_for("it to be told", lambda: "unreadable" in one.log(0) + one.log(1), 30)
    wait_for("the filters", lambda: ids.asked_for_absent(100) <= 0.05, 30)


def shards_of(one: System, wanted: Callable[[dict[str, Any]], bool]) -> list[Path]:
    told = [s for s in one.get("/v1/shards", 0)["shards"] if wanted(s)]
    folder = one.folder / "shards"
    return [folder / (folder / f"{s['shard']}.current").read_text().strip() for s in told]


def spoil(path: Path) -> int:
    """A bit of one filter is flipped, another is cut; how many were there."""
    kv = RocksKV(path, 1 << 20)
    try:
        saved = list(kv.scan(b"b/"))
        for turn, (key, raw) in enumerate(saved):
            half = len(raw) // 2
            bad = raw[:half] if turn % 2 else raw[:half] + bytes([raw[half] ^ 8]) + raw[half + 1 :]
            kv.write([(key, bad)])
        return len(saved)
    finally:
        kv.close()
