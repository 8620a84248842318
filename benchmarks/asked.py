"""What HTTP adds to a search: the same rows and questions within a process, and over the loopback.

Rows are those of `search.py`, in one process on four shards in memory that all belong to it: a tree that
stands still, with portions, stores and views as a worker has them. k = 10, exact and to a recall of 0.95,
one vector a question and 64. Milliseconds a question, p50 and p99:

    index    `Table.search` over all rows: what `search.py` measures
    asked    `Asking.ask`: rounds, shards, threads, ids and ties
    HTTP     `POST /v1/search` from another process over one connection: JSON both ways, FastAPI, uvicorn
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import uvicorn
from search import KINDS, QUESTIONS, RECALL, K, rows_of
from standing import Client, Standing
from turns import machine

from pctstream.core.answers import Question
from pctstream.core.cover import refine
from pctstream.core.find import FindCover, auto_epsilon
from pctstream.core.recall import learn
from pctstream.core.table import Table

PORT, WARM, PIECE = 18473, 20, 2048
MANY = 64


def grown(rows: Any) -> Standing:
    """A tree with these rows in the portions of the cover that they have."""
    find = FindCover(rows.shape[1], auto_epsilon(rows[:1024], 16), 1000, 50_000, "gap", 4096)
    find.feed(rows)
    tree = Standing(rows.shape[1])
    tree.split(refine(rows[: find.rows], find.prototypes, find.epsilon, 5, 1000).centroids)
    for begin in range(0, len(rows), PIECE):
        some = rows[begin : begin + PIECE]
        tree.feed(tree.block(some, [str(begin + i) for i in range(len(some))], None))
    return tree


def timed(ask: Callable[[Any], Any], parts: list[Any]) -> str:
    """p50 and p99 in milliseconds, after a few that do not count."""
    for part in parts[:WARM]:
        ask(part)
    took = []
    for part in parts:
        start = time.perf_counter()
        ask(part)
        took.append(1000.0 * (time.perf_counter() - start))
    return f"p50 {np.percentile(took, 50):7.2f} ms  p99 {np.percentile(took, 99):7.2f} ms"


def over_http(kind: str, recall: float, many: int) -> None:
    """From a process of its own."""
    questions = rows_of(kind)[-QUESTIONS:].astype(float)
    with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60.0) as client:

        def ask(some: Any) -> None:
            body: dict[str, Any] = {"k": K, "recall": recall}
            body |= {"vectors": some.tolist()} if many > 1 else {"vector": some[0].tolist()}
            client.post("/v1/search", json=body).raise_for_status()

        print(timed(ask, parted(questions, many)), flush=True)


def parted(questions: Any, many: int) -> list[Any]:
    return [questions[i : i + many] for i in range(0, len(questions) - many + 1, many)]


def compare(kind: str) -> None:
    every = rows_of(kind)
    if every is None:
        print(f"{kind}: missing shared data")
        return
    questions, rows = every[-QUESTIONS:].astype(np.float64), every[:-QUESTIONS].copy()
    tree = grown(rows)
    client = Client(tree)
    server = uvicorn.Server(
        uvicorn.Config(client._app, port=PORT, log_level="error", lifespan="off")
    )
    for recall in (1.0, RECALL, 1.0):  # what a question sees is tidied, and learnt from, behind it
        client.post("search", vector=questions[0].tolist(), k=K, recall=recall)
        tree.search._behind.submit(int).result(600)
    client.post("search", vector=questions[0].tolist(), k=K)
    sights = [sight for sight in tree.search._sights.values() if sight.table.rows]
    table = Table([run for sight in sights for run in sight.table.runs], rows.shape[1])
    probes = learn(table, K, np.random.default_rng(0)).probes(RECALL)
    client.learn(K)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    print(
        f"{kind}: {table.rows:,} rows, {table.cells:,} cells; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    loop = asyncio.new_event_loop()
    for many in (1, MANY):
        parts = parted(questions, many)
        for recall in (1.0, RECALL):

            def index(some: Any, recall: float = recall) -> None:
                table.search(some, K, probes=0 if recall == 1.0 else probes)

            def asked(some: Any, recall: float = recall) -> None:
                question = Question(some, K, np.full(len(some), np.inf), recall)
                loop.run_until_complete(client.asking.ask(question, time.monotonic() + 60.0))

            print(f"  {many:2} at once, recall {recall}\n    index  {timed(index, parts)}")
            print(f"    asked  {timed(asked, parts)}", flush=True)
            command = [sys.executable, __file__, "--over", kind, str(recall), str(many)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"    HTTP   {said}", end="", flush=True)
    server.should_exit = True
    thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--over", nargs=3, metavar=("KIND", "RECALL", "MANY"))
    parser.add_argument("--kinds", nargs="*", default=["mixture"], choices=KINDS)
    given = parser.parse_args()
    if given.over:
        over_http(given.over[0], float(given.over[1]), int(given.over[2]))
        return
    print(machine("numba", "fastapi", "uvicorn", "httpx"))
    for kind in given.kinds:
        compare(kind)


if __name__ == "__main__":
    main()
