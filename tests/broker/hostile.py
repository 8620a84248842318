"""Questions that nobody should ask and no schema tells of: wrong dimensions, methods, no JSON at all.

What the OpenAPI document allows and forbids is asked by schemathesis, `test_search.py`.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

JSON = "application/json"
texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["N0", "N0,1", "N0.2", "N0,999999999", "0", "-1", "²", "9" * 5000, "..", "%2e",
                     "null", "true", "1e999", "t.P0/0/1/0", "a" * 3000, "0", "1"]),
)  # fmt: skip
numbers = st.one_of(
    st.integers(-(2**63), 2**63), st.integers(-3, 12), st.floats(allow_nan=False, width=64),
    st.sampled_from([0, -1, 10**9, 1e308, 1e39, -0.0, 2**64 - 1]),
)  # fmt: skip
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)
    ),
    max_leaves=12,
)  # fmt: skip
filters = st.recursive(
    st.dictionaries(
        st.sampled_from(["time", "n", "any", "not", "x" * 200]),
        st.one_of(anything, st.dictionaries(
            st.sampled_from(["gte", "gt", "lte", "lt", "in", "exists", "like"]), anything,
            max_size=3)),
        max_size=3,
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"not": inner}), st.fixed_dictionaries({"any": st.lists(inner)})
    ),
    max_leaves=4,
)  # fmt: skip
raw = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"", b"{", b"[" * 100_000, b'{"filter":' * 5000, b'{"k": NaN}', b"\xff\xfe",
                     b'{"vector": [1e400]}', b'{"vector": "\\ud800"}', b" " * (2 << 20)]),
)  # fmt: skip


def body(schema: dict[str, Any], dimension: int) -> SearchStrategy[bytes]:
    """Bodies by a schema: right ones, wrong in one place or two, and no such thing at all."""

    def field(name: str, told: dict[str, Any]) -> SearchStrategy[Any]:
        right: list[SearchStrategy[Any]] = [anything]
        if name == "filter":
            right.append(filters)
        if told.get("type") == "array" or name == "center":
            some = st.lists(numbers, min_size=dimension, max_size=dimension)
            right += [some, st.lists(some, max_size=3), st.lists(st.sampled_from(["vector"]))]
        if told.get("type") in ("integer", "number"):
            right.append(numbers)
        if told.get("type") == "boolean":
            right.append(st.booleans())
        if name == "reason":
            right.append(st.just("x" * 1_000_000))
        return st.one_of(*right)

    given = {n: field(n, told) for n, told in schema.get("properties", {}).items()}
    given.pop("dry_run", None)  # a plan that is carried out would change what others test
    whole = st.fixed_dictionaries({}, optional={**given, "surplus": anything})
    return st.one_of(whole.map(orjson.dumps), anything.map(orjson.dumps), raw)


@st.composite
def questions(draw: st.DrawFn, document: dict[str, Any], dimension: int) -> dict[str, Any]:
    """Arguments of `httpx.Client.build_request`, but for the address before the path."""
    calls = [(p, m) for p, methods in document["paths"].items() for m in methods]
    path, method = draw(st.sampled_from(sorted(calls)))
    told = document["paths"][path][method]

    def filled(found: re.Match[str]) -> str:
        words = ["pause", "cancel", "pin", "unpin", "undrain"]
        value = draw(st.one_of(texts, st.sampled_from(words)) if found[1] == "what" else texts)
        return quote("undrain" if value == "drain" else value or " ", safe="")

    asked: dict[str, Any] = {"url": re.sub(r"\{(\w+)(?::path)?\}", filled, path)}
    asked["method"] = method.upper() if draw(st.integers(0, 9)) else draw(st.sampled_from(["PUT", "DELETE", "POST"]))  # fmt: skip # noqa: E501
    if path.endswith("/apply") and asked["method"] == "POST":
        asked["method"] = "GET"
    names = [p["name"] for p in told.get("parameters", []) if p["in"] == "query"]
    asked["params"] = {n: draw(texts) for n in [*names, "surplus"] if draw(st.booleans())}
    headers = {"accept": draw(st.sampled_from([JSON, "*/*", "image/png", ";q=nan,,", "a/b;q=x"]))}
    if method == "post" or asked["method"] != "GET":
        content = told.get("requestBody", {}).get("content", {}).get(JSON, {})
        asked["content"] = draw(body(content.get("schema", {}), dimension))
        headers["content-type"] = draw(st.sampled_from([JSON, "text/plain", "application/vnd.apache.arrow.stream"]))  # fmt: skip # noqa: E501
    return asked | {"headers": headers}


def judge(answer: httpx.Response) -> None:
    """No failure but "not yet", and every refusal says what it is."""
    shown = (
        f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:300]}"
    )
    if answer.status_code >= 500:
        assert answer.status_code in (503, 504), shown
        assert answer.headers.get("retry-after"), shown
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json", shown
        said = answer.json()
        assert said["status"] == answer.status_code and said["detail"] and said["title"], shown
        assert said["type"].startswith("about:blank#"), shown
