"""Hostile questions to the views that need no broker; `tests/broker/test_search.py` asks all of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from broker.hostile import judge, questions
from core.test_ledger import Log
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from standing import Client, Standing
from test_plans_views import LOADS, Near, Views
from test_search_views import CENTRES, rows_of

from pctstream.errors import QueryRefused
from pctstream.http.body import PAGE_MAX, page


def searched() -> FastAPI:
    tree = Standing(5)
    tree.split(CENTRES)
    tree.feed(
        tree.block(rows_of(200), [str(i) for i in range(200)], [{"n": i} for i in range(200)])
    )
    return Client(tree)._app


def planned() -> FastAPI:
    near = Near(Log())
    near.told(LOADS)
    return Views(near)._apps[0]


@pytest.mark.parametrize("made", [searched, planned])
def test_no_question_makes_a_view_fall(made: Callable[[], FastAPI]) -> None:
    app = made()
    seen: Counter[int] = Counter()

    async def ask(asked: dict[str, Any]) -> httpx.Response:
        inner = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=inner, base_url="http://tree") as client:
            return await client.request(**asked)

    @settings(max_examples=250, deadline=None, suppress_health_check=[*HealthCheck], database=None)
    @given(questions(app.openapi(), 5))
    def fuzz(asked: dict[str, Any]) -> None:
        answer = asyncio.run(ask(asked))
        judge(answer)
        seen[answer.status_code] += 1

    fuzz()
    assert {404, 405, 422} <= set(seen), seen


def test_a_page_begins_where_the_last_one_said() -> None:
    items = list(range(2500))
    first, after = page(items, 10**9, "")
    assert (len(first), after) == (PAGE_MAX, "1000")
    assert page(items, 2, "2499") == ([2499], None) and page(items, -5, "9")[0] == [9]
    assert page(items, 5, "999999") == ([], None)
    for bad in ("²", "-1", "x", "9" * 5000):
        with pytest.raises(QueryRefused, match="cursor"):
            page(items, 5, bad)
