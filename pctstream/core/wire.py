"""Questions and answers between workers, as JSON; vectors as base64 of little-endian float64."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from pctstream.core.answers import Answer, Hit, Question, Tally
from pctstream.core.filters import parse
from pctstream.core.kernels import Float64
from pctstream.errors import QueryRefused

K_MOST, QUERIES_MOST = 10_001, 64
"""What anybody may ask for (`http.question`), a range and one row more: no array gets larger."""


def question_to_json(asked: Question) -> dict[str, Any]:
    """What `question_from_json` reads again, bit for bit."""
    return {
        "queries": _packed(asked.queries), "m": len(asked.queries), "k": asked.k,
        "within": _packed(asked.within), "recall": asked.recall,
        "reach": None if asked.reach is None else _packed(asked.reach),
        "filter": asked.written, "vector": asked.vector, "payload": asked.payload,
        "depth": asked.depth,
    }  # fmt: skip


def question_from_json(said: Any) -> Question:
    """QueryRefused for what is no question of ours.

    >>> asked = Question(np.array([[0.1, 2.0]]), 3, np.array([np.inf]), written={"a": 1})
    >>> again = question_from_json(question_to_json(asked))
    >>> again.queries.tolist(), again.within.tolist(), again.k, again.filter == parse({"a": 1})
    ([[0.1, 2.0]], [inf], 3, True)
    """
    try:
        m, k = int(said["m"]), int(said["k"])
        flat = _unpacked(said["queries"])
        if not (0 < m <= min(len(flat), QUERIES_MOST) and 0 < k <= K_MOST):
            raise ValueError(f"{m} queries, k = {k}")
        within = _unpacked(said["within"])
        reach = None if said["reach"] is None else _unpacked(said["reach"])
        if len(within) != m or (reach is not None and len(reach) != m):
            raise ValueError("as many bounds as queries")
        written = said["filter"]
        return Question(
            flat.reshape(m, -1), k, within, float(said["recall"]), reach,
            None if written is None else parse(written), written, bool(said["vector"]),
            bool(said["payload"]), int(said["depth"]),
        )  # fmt: skip
    except (LookupError, TypeError, ValueError) as error:
        raise QueryRefused(f"not a question of a worker: {error!r}") from None


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """What `answer_from_json` reads again."""
    return {
        "shard": answer.shard, "epoch": answer.epoch, "generation": answer.generation,
        "searched": answer.searched, "hits": [[list(hit) for hit in hits] for hits in answer.hits],
        "tallies": [[t.rows, t.cells, t.of_rows, t.of_cells, t.runs] for t in answer.tallies],
        "reach": [None if math.isinf(r) else r for r in answer.reach],
        "expected": answer.expected, "let_go": answer.let_go, "unknown": answer.unknown,
    }  # fmt: skip


def answer_from_json(said: dict[str, Any]) -> Answer:
    """The answer of another worker.

    >>> hit = Hit(0.1, "a", "t/0/0/0", "N0,1,2", "N0,1", 3, None, {"b": 1})
    >>> answer = Answer(3, 7, 2, ["N0,1"], [[hit]], [Tally(1, 1, 2, 2, 1)], [math.inf], 0.9)
    >>> answer_from_json(answer_to_json(answer)) == answer
    True
    """
    return Answer(
        said["shard"], said["epoch"], said["generation"], said["searched"],
        [[Hit(*hit) for hit in hits] for hits in said["hits"]],
        [Tally(*tally) for tally in said["tallies"]],
        [math.inf if r is None else r for r in said["reach"]],
        said["expected"], said["let_go"], said["unknown"],
    )  # fmt: skip


def _packed(numbers: Float64) -> str:
    return base64.b64encode(numbers.astype("<f8").tobytes()).decode()


def _unpacked(text: str) -> Float64:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f8").astype(np.float64)
