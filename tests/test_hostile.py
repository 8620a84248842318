"""Hostile questions to views without a broker; schemathesis asks all views in `tests/broker`."""

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
from test_spatial_views import charted

from pctstream import config
from pctstream.agents.surveyor import Surveyor
from pctstream.errors import QueryRefused
from pctstream.http import limits
from pctstream.http.body import PAGE_MAX, TEXT_MAX, page


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


def placed() -> FastAPI:
    return charted(400)[1]._app


@pytest.mark.parametrize("made", [searched, planned, placed])
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


def test_numbers_in_an_address_of_the_spatial_views_are_judged_like_all_others() -> None:
    _, asker = charted(400)
    first = asker.get("regions?limit=1").json()
    assert len(first["regions"]) == 1 and first["number"] > 1 and first["next"] == "1"
    second = asker.get("regions?limit=1&cursor=1").json()
    assert second["regions"] != first["regions"] and asker.get("density?cells=8, 4").is_success
    for bad in ("²", "-1", "x", "9" * 5000):
        for asked in (f"regions?cursor={bad}", f"density?cells={bad}", f"density?cells=8,{bad}"):
            answer = asker.get(asked)
            assert answer.status_code == 422, (asked[:40], answer.status_code)
            judge(answer)


def test_a_reason_for_other_limits_fits_into_a_record() -> None:
    near = Near(Log())
    near.cfg = config.load(None, {}, {"spatial.enabled": True, "spatial.x": "x", "spatial.y": "y"})
    near.surveyor = Surveyor(near)  # type: ignore[arg-type, attr-defined]
    views = Views(near)
    limits.add(views._apps[0], near, dict)  # type: ignore[arg-type]
    for bad in ("x" * (TEXT_MAX + 1), 3, None):
        answer = views.ask("PUT", "/v1/spatial/config", {"split_rows": 4000, "reason": bad})
        assert answer.status_code == 422 and "reason" in answer.text, answer.text[:200]
    assert near.orders == []
    long = {"split_rows": 4000, "reason": "x" * TEXT_MAX}
    said = views.ask("PUT", "/v1/spatial/config", long).json()
    assert said["history"][-1]["reason"] == long["reason"] and said["changes"] == {
        "split_rows": 4000
    }
    silent = views.ask("PUT", "/v1/spatial/config", {"split_rows": None}).json()
    assert silent["history"][-1]["reason"] == "" and silent["changes"] == {}
    only = views.ask("PUT", "/v1/spatial/config", {"reason": "none"})
    assert only.status_code == 422 and "nothing" in only.text
