"""Portions change their shard while rows come: nothing is lost, one shard answers, both are equal."""

from __future__ import annotations

import os
import random
import re
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from broker.brute import as_brute_force
from broker.system import System, mixture, wait_for
from confluent_kafka import Producer as KafkaProducer

from pctstream import topics
from pctstream.core.between import FENCE, fence_message
from pctstream.errors import PctError

PART = 6000
MOVES, KILLS = (int(n) for n in os.environ.get("PCT_MOVES", "2/1").split("/"))
SEED = int(os.environ.get("PCT_MOVE_SEED") or random.SystemRandom().randrange(10**6))


def start(one: System, portion: str, to: int, until: str = "") -> dict[str, Any]:
    asked = {"portion": portion, "to": to, "until": until}
    answer = httpx.post(f"{one.urls[0]}/v1/moves", json=asked, timeout=15)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def ended(one: System, move: str, stage: str = "DONE", within_s: float = 60.0) -> dict[str, Any]:
    def over() -> Any:
        found = one.get(f"/v1/moves/{move}")
        return found if found["stage"] in ("DONE", "ABORTED") else None

    found = dict(wait_for(f"{move} to end", over, within_s))
    assert found["stage"] == stage, repr(found)
    return found


def dropped(one: System, move: str) -> None:
    wait_for(f"{move} to let go", lambda: one.get(f"/v1/moves/{move}")["dropped"])


def held(one: System, shard: int, node: str) -> set[tuple[Any, ...]]:
    """The rows of a node in the store of a shard, whoever owns it."""
    record = next(s for s in one.get("/v1/shards")["shards"] if s["shard"] == shard)
    body = httpx.get(f"{record['url']}/v1/shards/{shard}/digest", timeout=30).content
    with pa.ipc.open_stream(body) as reader:
        some = [b for b in reader if b.num_rows and b["node"][0].as_py() == node]
        return {tuple(row.values()) for b in some for row in b.to_pylist()}


def hosts(one: System) -> dict[int, str]:
    return {s["shard"]: s["worker"] for s in one.get("/v1/shards")["shards"]}


class Feeding:
    """Rows that come all the time, until it is left."""

    def __init__(self, one: System) -> None:
        self._one = one
        self.rows: list[np.ndarray] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        part = 0
        while not self._stop.is_set():
            part += 1
            ids = [f"f{part}-{i}" for i in range(500)]
            self.rows.append(mixture(500, seed=part))
            self._one.feed(self.rows[-1], ids)
            self._stop.wait(0.1)

    def __enter__(self) -> Feeding:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


@pytest.fixture
def grown(system: Callable[..., System]) -> System:
    # no node re-opens: rows that came before stay where they are then, and no recount says where
    one = system(
        shards__count=4, tree__epsilon=8.0, tree__gap=500, tree__miss_limit=0.0, moves__grace_s=1.0
    )
    one.start(0, 1)
    one.feed(mixture(PART))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    return one


def made_again(one: System) -> bool:
    """Whether the broker is done with the deletion, and has the tree's topics."""
    with suppress(PctError):
        topics.apply(one.admin, topics.static_specs(one.cfg))
        return True
    return False


def largest(one: System) -> dict[str, Any]:
    return dict(max(one.get("/v1/portions")["portions"], key=lambda p: p["rows"]))


def owner(one: System, portion: str, number: int | None = None) -> int:
    return int(one.get(f"/v1/portions/{portion}", number)["owner"])


def at(one: System, move: str, stage: str) -> bool:
    return bool(one.get(f"/v1/moves/{move}")["stage"] == stage)


def ignored(one: System) -> float:
    """Copies and fences of moves that had ended, over all workers."""
    texts = [httpx.get(f"{url}/metrics", timeout=10).text for url in one.urls]
    found = [re.findall(r"^pct_move_ignored_total (\S+)$", text, re.M) for text in texts]
    return sum(float(values[0]) for values in found)


def emptied(one: System, shard: int, portion: str) -> bool:
    return held(one, shard, portion) == set()


@pytest.mark.timeout(240)
def test_a_portion_moves_while_rows_come(grown: System) -> None:
    one, places = grown, hosts(grown)
    portion = largest(one)
    name, source = portion["portion"], portion["owner"]
    beside = next(s for s, w in places.items() if w == places[source] and s != source)
    away = next(s for s, w in places.items() if w != places[source])
    with Feeding(one):
        for target in (away, beside, source):
            move = start(one, name, target)
            done = ended(one, move["id"])
            assert done["proof"]["hash_from"] == done["proof"]["hash_to"]
            assert done["proof"]["count"] >= portion["rows"]
            stages = [entry["stage"] for entry in done["history"]][:5]
            assert stages == ["PLANNED", "COPYING", "SHADOWING", "VERIFYING", "DONE"]
            for number in (0, 1):
                told = partial(owner, one, name, number)
                wait_for("the new owner everywhere", lambda t=target, told=told: told() == t)
            dropped(one, move["id"])
            wait_for("the source is empty", partial(emptied, one, done["from"], name))
    verdict = one.verify()
    assert verdict.sound
    assert verdict.applied == one.fed
    # a shadow has every row that came between, and so has the owner
    move = start(one, name, away, "VERIFYING")
    wait_for("the shadow", partial(at, one, move["id"], "VERIFYING"))
    one.feed(mixture(PART, seed=3), [f"both-{i}" for i in range(PART)])
    one.settle()
    both = wait_for("the same rows at both", lambda: held(one, source, name)
                    if held(one, source, name) == held(one, away, name) else None)  # fmt: skip
    assert len(both) > portion["rows"]
    assert one.get(f"/v1/portions/{name}")["shadow"] == away
    assert one.verify().sound
    # all that anybody wrote down besides the routing is lost
    httpx.post(f"{one.urls[0]}/v1/moves/{move['id']}/resume", timeout=15)
    ended(one, move["id"])
    dropped(one, move["id"])
    before = [(p["portion"], p["owner"]) for p in one.get("/v1/portions")["portions"]]
    epoch = one.get("/v1/portions")["as_of"]["epoch"]
    for number in (0, 1):
        one.kill(number)
    for folder in ("shards", "workers"):
        shutil.rmtree(one.folder / folder)
    one.admin.delete_topics([f"{one.tree}.state"])[f"{one.tree}.state"].result(30)
    wait_for("it to be gone", lambda: f"{one.tree}.state" not in one.admin.list_topics().topics)
    wait_for("it to be made", partial(made_again, one))
    one.start(0, 1)
    answer = one.get("/v1/portions")
    assert [(p["portion"], p["owner"]) for p in answer["portions"]] == before
    assert answer["as_of"]["epoch"] == epoch
    assert one.verify().applied == one.fed


@pytest.mark.timeout(200)
def test_a_move_that_is_called_off_leaves_nothing(grown: System) -> None:
    one = grown
    portion = largest(one)
    name, source = portion["portion"], portion["owner"]
    for stage, target in zip(("COPYING", "SHADOWING", "VERIFYING"), (1, 2, 3), strict=True):
        target = (source + target) % 4
        move = start(one, name, target, stage)
        wait_for(stage, partial(at, one, move["id"], stage))
        second = httpx.post(
            f"{one.urls[1]}/v1/moves", json={"portion": name, "to": target}, timeout=15
        )
        assert second.status_code == 409
        assert move["id"] in second.json()["detail"]
        httpx.post(f"{one.urls[1]}/v1/moves/{move['id']}/cancel", timeout=15)
        assert ended(one, move["id"], "ABORTED")["why"] == "it was called off"
        wait_for("the target is empty", partial(emptied, one, target, name))
        again = httpx.post(f"{one.urls[0]}/v1/moves/{move['id']}/cancel", timeout=15)
        assert again.status_code == 409
    assert owner(one, name) == source
    before = ignored(one)
    late = KafkaProducer({"bootstrap.servers": one.broker})
    late.produce(
        f"{one.tree}.P{name[1:].replace(',', '.')}", fence_message(move["id"], 0), partition=0,
        headers=[("pct-type", FENCE.encode())],
    )  # fmt: skip
    assert late.flush(10) == 0
    record = next(s for s in one.get("/v1/shards")["shards"] if s["shard"] == source)
    copy = f"{record['url']}/v1/shards/{source}/portions/{name}/copy?move={move['id']}"
    assert httpx.get(copy, timeout=15).status_code == 422
    wait_for("both to be counted", lambda: ignored(one) == before + 2)
    assert one.verify().applied == PART
    for body, status in (
        ({"portion": name, "to": source}, 409), ({"portion": name, "to": 99}, 404),
        ({"portion": "N0,999", "to": 1}, 404), ({"portion": "what", "to": 1}, 400),
        ({"portion": name}, 422), ({"portion": name, "to": "1"}, 422),
        ({"portion": name, "to": 1, "until": "DONE"}, 422), ({"portion": name, "when": 1}, 422),
    ):  # fmt: skip
        answer = httpx.post(f"{one.urls[0]}/v1/moves", json=body, timeout=15)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    httpx.post(f"{one.urls[0]}/v1/portions/{name}/pin", timeout=15)
    pinned = {"portion": name, "to": (source + 1) % 4}
    assert httpx.post(f"{one.urls[0]}/v1/moves", json=pinned, timeout=15).status_code == 409


@pytest.mark.timeout(60 + 60 * MOVES)
def test_moves_go_on_whoever_dies(grown: System) -> None:
    """Source, target and the tree agent's worker are killed in the middle of moves, under writes."""
    one, chance = grown, random.Random(SEED)
    print(f"PCT_MOVE_SEED={SEED}")
    kills = 0
    with Feeding(one) as feeding:
        for at_move in range(MOVES):
            portion = chance.choice(one.get("/v1/portions")["portions"])
            target = chance.choice([s for s in range(4) if s != portion["owner"]])
            dying = at_move * KILLS // MOVES < (at_move + 1) * KILLS // MOVES
            stage = chance.choice(["COPYING", "SHADOWING", "VERIFYING"]) if dying else ""
            move = start(one, portion["portion"], target, stage)
            if dying:
                wait_for(stage, partial(at, one, move["id"], stage))
                number = chance.randrange(2)
                one.kill(number)
                kills += 1
                one.start(number)
                resumed = f"{one.urls[0]}/v1/moves/{move['id']}/resume"
                assert httpx.post(resumed, timeout=15).status_code == 200
            ended(one, move["id"], within_s=120)
            wait_for("its end", lambda m=move: one.get(f"/v1/moves/{m['id']}")["dropped"])
    assert kills == KILLS
    verdict = one.verify()
    assert verdict.sound
    assert verdict.applied == one.fed
    moves = one.get("/v1/moves")["moves"]
    assert len([m for m in moves if m["stage"] == "DONE"]) == MOVES
    assert all(m["proof"]["hash_from"] == m["proof"]["hash_to"] for m in moves)
    as_brute_force(one, np.concatenate([mixture(PART), *feeding.rows]))
