"""The page at `/` in a real Chromium, on a system that runs: what it shows is what the views answer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from broker.system import System, mixture, wait_for
from browser import Browser, program

from pctstream.client import Producer

VIEWS = ("tree", "cover/1", "shards", "moves", "map", "search/plain")
EVIL = '<img src=x onerror="window.hit=1"><script>window.hit=2</script>'
FIELD = "<b onclick=window.hit=3>key</b>"
TOKEN = "s3cret-of-the-page"


class Open:
    """The system, its browser, and a page on its first worker."""

    def __init__(self, one: System, browser: Browser) -> None:
        self.one, self.browser = one, browser
        self.url = one.urls[0]
        self.page = browser.open(f"{self.url}/")
        self.page.js("performance.setResourceTimingBufferSize(10000)")
        self.page.wait("document.querySelector('.pill.good')")

    def api(self, path: str) -> Any:
        return self.one.get(path, 0)

    def same(self, selector: str, path: str, of: Any) -> None:
        """Until a number of the page is the one that the view answers."""

        def number() -> bool:
            digits = re.sub(r"[^\d]", "", self.page.text(selector))
            return int(digits) == of(self.api(path))

        wait_for(f"{selector} as {path} says: {of(self.api(path))}", number, 20)


@pytest.fixture(scope="module")
def open_(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    if program() is None:
        pytest.skip("no chromium: `sudo apt-get install chromium`")
    folder = tmp_path_factory.mktemp("page")
    settings: dict[str, object] = {
        "shards.count": 3, "tree.epsilon": 8.0, "tree.gap": 300, "tree.max_level": 2,
        "tree.level_idle_s": 0.5,
        "drift.window_s": 0.5, "spatial.enabled": True, "spatial.split_rows": 400,
        "spatial.merge_rows": 100, "spatial.interval_s": 0.5, "moves.grace_s": 0.5,
    }  # fmt: skip
    one = System(broker.bootstrap, f"t{os.getpid()}-page", folder, settings)
    (folder / "profile").mkdir()
    browser = Browser(folder / "profile")
    try:
        one.start(0, 1)
        fed(one)
        yield Open(one, browser)
    finally:
        browser.close()
        one.stop()


def fed(one: System) -> None:
    """Rows with places; some with ids and payloads that look like markup."""
    rows, rng = mixture(2500), np.random.default_rng(3)
    places = rng.normal(0, 3, (len(rows), 2))
    with Producer(one.broker, one.tree) as producer:
        for i, (row, (x, y)) in enumerate(zip(rows, places, strict=True)):
            name = {0: "plain", 1: EVIL}.get(i, f"row-{i}")
            payload = {"lon": float(x), "lat": float(y), FIELD: EVIL if i == 1 else "fine"}
            producer.add(row, id=name, payload=payload)
    one.fed += len(rows)
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    wait_for("a grown tree", lambda: one.get("/v1/tree")["state"] == "grown")
    wait_for("the map", lambda: one.get("/v1/spatial/density")["rows"] == len(rows))


def test_the_tree_shows_what_the_views_say(open_: Open) -> None:
    open_.same("[data-of=rows]", "/v1/tree", lambda t: t["rows"])
    open_.same("[data-of=nodes]", "/v1/tree", lambda t: sum(e["nodes"] for e in t["levels"]))
    open_.same("[data-of=epoch]", "/v1/tree", lambda t: t["epoch"])
    open_.same("[data-of=node-rows]", "/v1/nodes/N0", lambda n: n["rows"])
    nodes = open_.api("/v1/nodes?level=1")["nodes"]
    drawn = open_.page.js("[...document.querySelectorAll('[data-node]')].map(e => e.dataset.node)")
    assert {n["name"] for n in nodes if n["rows"]} <= set(drawn)
    total = open_.api("/v1/tree")["rows"]
    for node in nodes:  # as wide as its rows, and the number is where no eye is needed
        width = f"document.querySelector('[data-node=\"{node['name']}\"]').style.width"
        if node["rows"]:
            assert abs(float(open_.page.js(width).rstrip("%")) / 100 - node["rows"] / total) < 1e-3
    most = max(nodes, key=lambda n: n["rows"])
    open_.page.js(f"document.querySelector('[data-node=\"{most['name']}\"]').click()")
    open_.same("[data-of=node-rows]", f"/v1/nodes/{most['name']}", lambda n: n["rows"])
    assert open_.page.js("location.hash") == f"#/tree/{quote(most['name'], safe='')}"


def test_every_view_shows_its_numbers(open_: Open) -> None:
    page = open_.page
    page.go("cover/1")
    cover = open_.api("/v1/levels/1/cover")["cover"]
    dots = page.js("document.querySelectorAll('[data-entry]').length")
    assert dots == len([e for e in cover if e["x"]])
    page.go("shards")
    for shard in open_.api("/v1/shards")["shards"]:
        number = shard["shard"]
        open_.same(f"[data-of=shard-{number}-rows]", f"/v1/shards/{number}", lambda s: s["rows"])
        open_.same(f"[data-of=shard-{number}-portions]", f"/v1/shards/{number}",
                   lambda s: len(s["portions"]))  # fmt: skip
    page.wait("document.querySelector('.chart path.past')")
    page.go("map")
    open_.same("[data-of=map-placed]", "/v1/spatial/density", lambda d: d["rows"])
    open_.same("[data-of=map-regions]", "/v1/spatial/regions", lambda r: r["number"])
    page.go("search/plain")
    asked = {"vector": open_.api("/v1/rows/plain")["vector"], "k": 10}
    answer = httpx.post(f"{open_.url}/v1/search", json=asked, timeout=10).json()
    page.wait("document.querySelectorAll('[data-of=distance]').length === 10")
    found = page.js(
        """[...document.querySelectorAll('[data-of=distance]')].map(
          e => e.closest('tr').cells[0].textContent)"""
    )
    assert found == [r["id"] for r in answer["results"]]


def test_markup_in_ids_and_payloads_stays_text(open_: Open) -> None:
    page = open_.page
    page.go(f"search/{quote(EVIL, safe='')}")
    assert page.text("[data-of=row-id]") == EVIL
    page.wait(f"document.querySelector('.payload').textContent.includes({FIELD!r})")
    page.wait("document.querySelectorAll('[data-of=distance]').length === 10")
    assert (
        page.js("document.querySelectorAll('main img, main script, main b[onclick]').length") == 0
    )
    assert page.js("window.hit === undefined")
    page.go("search/nobody%20has%20it")
    page.wait(
        "document.querySelector('main').textContent.includes('No row has the id nobody has it')"
    )


def test_a_move_is_started_paused_and_called_off(open_: Open) -> None:
    page, one = open_.page, open_.one
    page.go("moves")
    page.wait("document.querySelectorAll('select[name=portion] option').length > 0")
    portion = max(one.get("/v1/portions")["portions"], key=lambda p: p["rows"])
    to = (portion["owner"] + 1) % 3
    page.js(f"""(() => {{ const form = document.querySelector('form');
      form.portion.value = {portion["portion"]!r}; form.to.value = {to}; form.reason.value = {EVIL!r};
      form.requestSubmit(); }})()""")
    move = wait_for("the move", lambda: one.get("/v1/moves")["moves"][0])
    assert (move["portion"], move["to"], move["reason"]) == (portion["portion"], to, EVIL)
    wait_for("it is over", lambda: one.get("/v1/moves")["moves"][0]["stage"] == "DONE", 60)
    page.wait("document.querySelector('.tag.good')?.textContent === 'done'")
    back = {"portion": portion["portion"], "to": portion["owner"], "until": "COPYING"}
    url = f"{open_.url}/v1/moves"  # refused until the other shard has let go of it
    wait_for("back", lambda: httpx.post(url, timeout=10, json=back).status_code == 202)
    page.wait("document.querySelector('[data-move]')")
    page.wait("document.querySelector('.tag.warn')?.textContent === 'paused'")
    page.click("[data-move] .danger")
    assert page.js("document.querySelectorAll('[data-move]').length") == 1, "it asks once more"
    page.click("[data-move] .danger")
    wait_for("called off", lambda: one.get("/v1/moves")["moves"][-1]["stage"] == "ABORTED", 60)
    page.wait("document.querySelector('.tag.bad')?.textContent === 'aborted'")
    assert page.js("window.hit === undefined")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_narrow_screen_in_any_colours(open_: Open, theme: str) -> None:
    page = open_.page
    page.look(390, 844, theme)
    ground = page.js("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", ground)[:3])) < 60) == (theme == "dark")
    for view in VIEWS:
        page.go(view)
        assert page.js("document.documentElement.scrollWidth") == 390, view
        small = page.js("""[...document.querySelectorAll('.tabs a')].filter(
          e => e.getBoundingClientRect().height < 40).length""")
        assert small == 0
    page.look(1280, 900, "light")


def test_everything_is_reached_by_keys_and_named(open_: Open) -> None:
    page = open_.page
    page.go("tree")
    page.wait("document.querySelector('[data-node=\"N0\"]')")
    page.js("document.querySelector('[data-node=\"N0\"]').focus()")
    page.key("ArrowDown")
    first = page.js("document.activeElement.dataset.node")
    assert first and first.startswith("N0,")
    page.key("Enter")
    page.wait(f"decodeURIComponent(location.hash) === '#/tree/{first}'")
    assert page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.key("Escape")
    page.wait("location.hash === '#/tree/N0'")
    page.js(f"""(() => {{ const first = document.querySelector('[data-node="{first}"]'); first.click();
      first.dispatchEvent(new KeyboardEvent('keydown', {{key: 'Escape', bubbles: true}})); }})()""")
    assert page.js("location.hash") == "#/tree/N0", "also where keys follow at once"
    for view in VIEWS:
        page.go(view)
        nameless = page.js("""[...document.querySelectorAll(
          'button, a[href], input, select, summary, [tabindex="0"]')].filter(e => !(e.textContent.trim()
          || e.getAttribute('aria-label') || e.labels?.[0]?.textContent)).map(e => e.outerHTML)""")
        assert nameless == [], view
        lost = page.js("""[...document.querySelectorAll('[onclick]')].length""")
        assert lost == 0


def test_it_asks_no_oftener_than_it_says_and_not_while_hidden(open_: Open) -> None:
    page = open_.page
    page.go("tree")
    away = "{get: () => window.away, configurable: true}"
    page.js(f"Object.defineProperty(document, 'hidden', {away})")
    other = open_.browser.open(f"{open_.url}/#/tree")
    calls = "performance.getEntriesByType('resource').filter(e => e.name.includes('/v1/'))"
    trees = f"{calls}.filter(e => e.name.endsWith('/v1/tree'))"
    page.wait(f"{trees}.length >= 3")  # of all the tests before
    assert min(np.diff(page.js(f"{trees}.map(e => e.startTime)"))) > 1900
    page.js("window.away = true; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait("document.querySelector('.pill').textContent === 'paused'")
    before, then = page.js(f"{calls}.length"), other.js(f"{trees}.length")
    other.wait(f"{trees}.length >= {then + 2}")  # more than an interval later
    other.close()
    settled = page.js(f"{calls}.length")
    assert settled <= before + 5, "what was on its way when it was hidden"
    page.js("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait(f"{calls}.length > {settled}")


def test_nothing_comes_from_elsewhere_and_the_console_is_silent(open_: Open) -> None:
    page = open_.page
    fresh = open_.browser.open(f"{open_.url}/#/map")
    fresh.wait("document.querySelector('canvas')")
    # 404 is how the search says that no row has an id
    told = [e for e in page.errors + fresh.errors if "/v1/rows/nobody" not in e]
    assert told == []
    away = [u for u in page.requests + fresh.requests if not u.startswith((open_.url, "about:"))]
    assert away == []
    assert (
        fresh.js("fetch('http://example.invalid/').then(() => 'let out', () => 'kept in')")
        == "kept in"
    )
    script = "document.createElement('div').innerHTML = '<b>x</b>'"
    assert (
        fresh.js(
            f"(() => {{ try {{ {script}; return 'taken' }} catch (e) {{ return e.name }} }})()"
        )
        == "TypeError"
    )
    fresh.close()


def test_every_call_can_be_read_and_tried_at_docs(open_: Open) -> None:
    page = open_.browser.open(f"{open_.url}/docs")
    calls = sum(len(of) for of in open_.api("/openapi.json")["paths"].values())
    page.wait(f"document.querySelectorAll('.opblock').length === {calls}")
    page.click("[id$='livez_get'] .opblock-summary-control, [id*='livez'] .opblock-summary-control")
    page.click(".try-out__btn")
    page.click(".execute")
    assert "200" in page.text(".live-responses-table tbody .response-col_status")
    away = [u for u in page.requests if not u.startswith((open_.url, "about:", "data:image/"))]
    assert (away, page.errors) == ([], [])
    page.close()


def test_a_worker_that_goes_and_comes_back_with_a_token(open_: Open) -> None:
    page, one = open_.page, open_.one
    page.go("tree")
    rows = page.text("[data-of=rows]")
    one.kill(0)
    page.wait("document.querySelector('.notice.bad')?.textContent.includes('does not answer')", 20)
    assert page.text("[data-of=rows]") == rows, "what was known stays"
    links = page.js(
        "[...document.querySelectorAll('.notice.bad a')].map(e => new URL(e.href).origin)"
    )
    assert links == [f"http://127.0.0.1:{one.ports[1]}"]
    secret = one.folder / "token"
    secret.write_text(TOKEN)
    one.start(0, ready=False, PCT_HTTP__TOKEN_FILE=str(secret))
    page.wait("document.querySelector('dialog[open]')", 40)
    for given, accepted in (("wrong", False), (TOKEN, True)):
        page.wait("document.querySelector('dialog[open] input')")
        page.js(f"""(() => {{ const form = document.querySelector('dialog form');
          form.token.value = {given!r}; form.requestSubmit(); }})()""")
        if not accepted:
            page.wait("document.querySelector('dialog [role=alert]')")
    page.wait("!document.querySelector('dialog') && document.querySelector('.pill.good')", 20)
    assert TOKEN not in page.js("location.href") and not [u for u in page.requests if TOKEN in u]
    assert page.js("sessionStorage.getItem('pct-token')") == TOKEN
    assert TOKEN not in page.js("JSON.stringify({...localStorage})")
