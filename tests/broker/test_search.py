"""Search over two workers while rows stream in, against brute force over what was fed."""

from __future__ import annotations

import concurrent.futures
import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
from broker.hostile import judge
from broker.system import System, mixture, wait_for
from broker.test_solver import typed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from pctstream.client import Client, Producer

ROWS, MORE, QUESTIONS, K = 2500, 2000, 200, 10
HOSTILE = int(os.environ.get("PCT_HOSTILE", "250"))


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(
        timeout=30.0, limits=httpx.Limits(max_connections=None, keepalive_expiry=1.0)
    ) as client:
        yield client


@pytest.fixture(scope="module")
def grown(
    broker: Any, tmp_path_factory: pytest.TempPathFactory, http: httpx.Client
) -> Iterator[Asked]:
    """Two workers, four shards, one level of portions."""
    settings: dict[str, object] = {
        "shards.count": 4, "tree.epsilon": 8.0, "tree.gap": 500, "tree.epsilon_ratio": 0.01,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("search")
    one = System(broker.bootstrap, f"t{os.getpid()}-search", folder, settings)
    try:
        one.start(0, 1)
        one.feed(mixture(ROWS))
        wait_for("portions", lambda: one.get("/v1/portions")["portions"])
        one.settle()
        yield Asked(one, http)
    finally:
        one.stop()


class Asked:
    """A system and one pool of connections to it."""

    def __init__(self, one: System, http: httpx.Client) -> None:
        self.one, self._http = one, http

    def post(self, number: int, what: str, **asked: Any) -> httpx.Response:
        url = f"http://127.0.0.1:{self.one.ports[number]}/v1/{what}"
        return self._http.post(url, json=asked)

    def search(self, number: int, query: np.ndarray, k: int = K) -> dict[str, Any]:
        answer = self.post(number, "search", vector=query.tolist(), k=k)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def whole(self, number: int, query: np.ndarray, right: tuple[list[str], list[float]]) -> None:
        """The exact answer. On a busy machine a shard may be late: then, and only then, it is partial."""

        def exact() -> bool:
            found = self.search(number, query)
            assert found["exact"] == (not found["partial"])
            assert found["partial"] or told(found) == right
            return bool(found["exact"])

        wait_for("a whole answer", exact, 30)

    def ask(self, **asked: Any) -> httpx.Response:
        return self._http.request(**asked)

    def row(self, number: int, name: str) -> httpx.Response:
        return self._http.get(f"http://127.0.0.1:{self.one.ports[number]}/v1/rows/{name}")


def brute(rows: np.ndarray, query: np.ndarray) -> tuple[list[str], list[float]]:
    squares = (rows.astype(np.float64) - query) ** 2
    away = np.sqrt(np.cumsum(squares, axis=1)[:, -1])
    names = np.array([str(i) for i in range(len(rows))])
    order = np.lexsort((names, away))[:K]
    return names[order].tolist(), away[order].tolist()


def told(found: dict[str, Any]) -> tuple[list[str], list[float]]:
    results = found["results"]
    return [r["id"] for r in results], [r["distance"] for r in results]


def test_exact_while_rows_stream_in(grown: Asked) -> None:
    one, rows = grown.one, mixture(ROWS)
    wait_for("a whole answer", lambda: grown.search(0, rows[0])["exact"])
    # what streams in lies far away, so that the answers do not change
    fresh = mixture(MORE, seed=5) + np.float32(500.0)
    with Producer(one.broker, one.tree) as producer:
        for i, query in enumerate(rows[:QUESTIONS].astype(np.float64)):
            for j in range(i * MORE // QUESTIONS, (i + 1) * MORE // QUESTIONS):
                producer.add(fresh[j], id=f"fresh{j}")
            near = query + np.random.default_rng(i).normal(0, 0.3, len(query))
            grown.whole(i % 2, near, brute(rows, near))
    # every acked row is findable, soon
    last = [f"fresh{MORE - 1}"]
    wait_for("the last row", lambda: told(grown.search(1, fresh[-1], 1))[0] == last, 60)
    one.fed += MORE


def test_many_at_once_are_answered(grown: Asked) -> None:
    rows = mixture(ROWS).astype(np.float64)

    def ask(i: int) -> int:
        asked: dict[str, Any] = {"recall": 0.9} if i % 2 else {}
        return grown.post(i % 2, "search", vector=rows[i].tolist(), k=5, **asked).status_code

    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        codes = list(pool.map(ask, range(200)))
    assert set(codes) == {200}


def test_a_row_a_range_and_a_shell(grown: Asked) -> None:
    rows = mixture(ROWS)
    for i in (0, 1234, ROWS - 1):
        for number in (0, 1):
            found = grown.row(number, str(i)).json()
            assert found["vector"] == rows[i].tolist()
            assert found["node"].startswith(found["portion"])
    assert grown.row(0, "nobody").status_code == 404
    query = rows[7].astype(np.float64)
    names, away = brute(rows, query)
    found = grown.post(1, "range", vector=query.tolist(), radius=away[-1]).json()
    assert told(found) == (names, away)
    numbers = ",".join(map(repr, query.tolist()))
    shown = typed(grown.one, "search", "--vector", numbers, "-k", "3", "--json")
    assert told(json.loads(shown.stdout)) == (names[:3], away[:3])
    shown = typed(grown.one, "row", "7")
    assert shown.returncode == 0 and "N0," in shown.stdout
    text = httpx.get(f"{grown.one.urls[0]}/metrics", timeout=5.0).text
    assert 'pct_query_seconds_count{kind="exact"}' in text


def test_nothing_falls_over_what_the_document_allows_or_forbids(grown: Asked) -> None:
    """schemathesis asks: what is said to be right, and the same made wrong."""
    one = grown.one
    document = one.get("/openapi.json")
    assert len(document["paths"]) > 25
    # a plan that is carried out would change what other tests ask
    schema = schemathesis.openapi.from_dict(document).exclude(path_regex="/apply$")
    cases = st.one_of([schema.as_strategy(generation_mode=mode) for mode in GenerationMode])
    seen: Counter[int] = Counter()

    @settings(max_examples=HOSTILE, deadline=None, suppress_health_check=[*HealthCheck],
              database=None)  # fmt: skip
    @given(cases)
    def fuzz(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict):
            case.body.pop("dry_run", None)
        answer = case.call(base_url=one.urls[seen.total() % 2])
        request = httpx.Request(str(answer.request.method), str(answer.request.url))
        judge(httpx.Response(
            answer.status_code, content=answer.content, request=request,
            headers=[(name, value) for name, values in answer.headers.items() for value in values],
        ))  # fmt: skip
        seen[answer.status_code] += 1
        assert answer.status_code < 500, answer.request.url

    fuzz()
    print(f"answered: {dict(seen)}")
    assert {200, 404, 422} <= set(seen), seen
    assert [worker.poll() for worker in one.workers.values()] == [None, None]
    rows = mixture(ROWS)
    wait_for("a whole answer", lambda: told(grown.search(0, rows[5])) == brute(rows, rows[5]))


def test_a_shard_that_cannot_be_is_not_found_and_one_elsewhere_is_said_to_be(grown: Asked) -> None:
    hosts = {s["shard"]: s["url"] for s in grown.one.get("/v1/shards")["shards"]}
    for what in ("", "/digest", "/snapshot"):
        for number in (-1, 4, 10**12):
            answer = grown.ask(method="GET", url=f"{grown.one.urls[0]}/v1/shards/{number}{what}")
            judge(answer)
            assert answer.status_code == 404, answer.text
        elsewhere = next(url for url in grown.one.urls if url != hosts[0])
        answer = grown.ask(method="GET", url=f"{elsewhere}/v1/shards/0{what}")
        assert answer.status_code == (421 if what else 200), answer.text


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"k": 0}, "k"), ({"k": -1}, "k"), ({"k": 1e9}, "k"), ({"vector": [1.0]}, "vector"),
        ({"vector": ["x"] * 16}, "vector"), ({"vectors": []}, "vectors"), ({"recall": 2}, "recall"),
        ({"exact": 1}, "exact"), ({"include": ["id"]}, "include"), ({"explain": 0}, "explain"),
        ({"filter": {"a": {"like": 1}}}, "filter.a.like"), ({"colour": 1}, "colour"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named(grown: Asked, body: dict[str, Any], named: str) -> None:
    wrong = {"vector": [0.0] * 16, **body}
    if "vectors" in body:
        del wrong["vector"]
    answer = grown.post(0, "search", **wrong)
    judge(answer)
    assert answer.status_code == 422 and named in answer.json()["detail"]


def test_a_program_asks_everything(grown: Asked) -> None:
    one, rows = grown.one, mixture(ROWS)
    extra = mixture(3, seed=11) + np.float32(900.0)
    with Client(one.urls, timeout_s=30) as tree, Producer(one.broker, one.tree) as producer:
        for i, row in enumerate(extra):
            producer.add(row, id=f"mine-{i}")
        producer.flush(wait="applied", tree=tree)
        one.fed += len(extra)
        assert tree.row("mine-2").vector.tolist() == extra[2].tolist()
        found = tree.search(extra[0], k=1, include=["vector"])
        assert found.ids == ["mine-0"] and found.vectors is not None
        assert tree.range(rows[7], 0.0).ids == ["7"]
        whole = tree.tree()
        assert whole.dimension == 16 and whole.levels[0].level == 0
        cover = tree.cover(1)
        assert abs(cover.w.sum() - 1.0) < 1e-9 and cover.x.shape == (len(cover.nodes), 16)
        near = tree.neighbors(1, cover.nodes[0], 0.0)
        assert cover.nodes[0] in near.nodes and near.distances.max() == 0.0
        portions, shards = tree.portions(), tree.shards()
        assert {p.owner for p in portions} <= {s.shard for s in shards} == {0, 1, 2, 3}
        assert sum(s.bloom["keys"] for s in shards) > 0.9 * ROWS
        scored = wait_for("scores", tree.drifts)
        assert tree.drift(scored[0].portion).portion == scored[0].portion
        plan = tree.make_plan(reason="a test")
        assert tree.plan(plan.id).reason == "a test" and plan.id in {p.id for p in tree.plans()}
        idle = next(p for p in portions)
        move = tree.start_move(idle.portion, (idle.owner + 1) % 4, "a test")
        done = wait_for("the move", lambda: (m := tree.move(move.id)).stage in ("DONE", "ABORTED") and m)  # fmt: skip # noqa: E501
        assert (done.stage, done.source, done.target) == ("DONE", idle.owner, (idle.owner + 1) % 4)
        assert move.id in {m.id for m in tree.moves()}


def test_without_a_worker_the_answer_is_partial_and_says_so(grown: Asked) -> None:
    rows = mixture(ROWS)
    grown.one.kill(1)
    gone = 0
    for query in rows[:20].astype(np.float64):
        found = grown.search(0, query)
        right = told(found) == brute(rows, query)
        assert found["partial"] or right
        assert found["exact"] == (not found["partial"])
        gone += found["partial"]
    assert gone, "the shards of a dead worker were nobody's for a moment"

    def whole() -> bool:
        query = rows[3].astype(np.float64)
        found = grown.search(0, query)
        return bool(found["exact"]) and told(found) == brute(rows, query)

    wait_for("the other worker to have all shards", whole, 40)
