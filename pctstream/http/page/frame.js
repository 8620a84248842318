// What stands around the views: where one can go, whether the worker answers, the tree's own numbers.

import { token } from "./asking.js";
import { cover } from "./cover.js";
import { live } from "./live.js";
import { lock } from "./lock.js";
import { map } from "./map.js";
import { moves } from "./moves.js";
import { notices } from "./notices.js";
import { icon } from "./parts.js";
import { search } from "./search.js";
import { shards } from "./shards.js";
import { redraw, state, to } from "./state.js";
import { stats } from "./stats.js";
import { tree } from "./tree.js";
import { h } from "./vendor/preact.js";
import { clock } from "./words.js";

/** @type {Record<string, {name: string, draw: () => any, about: string}>} */
const VIEWS = {
  tree: { name: "Tree", draw: tree, about: "every node by its rows" },
  cover: { name: "Cover", draw: cover, about: "the weighted cover of a level" },
  shards: { name: "Shards", draw: shards, about: "load, capacity and what is coming" },
  moves: { name: "Moves", draw: moves, about: "portions on their way between shards" },
  map: { name: "Map", draw: map, about: "where rows lie, and how finely that is indexed" },
  search: { name: "Search", draw: search, about: "a row by its id, and the rows nearest to it" },
};

export function frame() {
  const known = live("/v1/tree");
  const all = live("/v1/shards");
  const owned = live("/v1/portions", 4);
  const going = live("/v1/moves", state.view === "moves" ? 2 : 6);
  const view = VIEWS[state.view] ?? VIEWS.tree;
  const name = known.body?.name || "pctstream";
  document.title = `${view.name} · ${name}`;
  const open = (going.body?.moves ?? []).filter(
    (/** @type {any} */ m) => m.stage !== "DONE" && m.stage !== "ABORTED",
  ).length;
  return h(
    "div",
    { class: `frame ${state.link.down ? "stale" : ""}` },
    h("a", { class: "skip", href: "#main", onClick: skip }, "To the content"),
    side(open),
    h(
      "div",
      { class: "content" },
      h(
        "div",
        { class: "head" },
        h("h1", null, view.name),
        h("span", { class: "of" }, `${name} · ${view.about}`),
        h("div", { class: "right" }, pulse(known), themes()),
      ),
      h("div", { class: "notices", role: "status", "aria-live": "polite" }, notices(known, all)),
      stats(known.body, all.body, owned.body),
      h("main", { id: "main", tabindex: -1, key: state.view }, view.draw()),
    ),
    state.locked && lock(),
  );
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** @param {number} open */
const side = (open) =>
  h(
    "aside",
    { class: "side" },
    h("a", { class: "brand", href: to("tree") }, h("img", { src: "/page/icon.svg", alt: "" }), "pctstream"),
    h(
      "nav",
      { class: "tabs", "aria-label": "Views" },
      Object.entries(VIEWS).map(([key, { name }]) =>
        h(
          "a",
          { key, href: to(key), "aria-current": state.view === key ? "page" : undefined },
          icon(/** @type {any} */ (key)),
          name,
          key === "moves" && open > 0 && h("span", { class: "count", "aria-label": `${open} open` }, open),
        ),
      ),
    ),
    h(
      "footer",
      null,
      !token() &&
        h(
          "nav",
          { "aria-label": "More" },
          h("a", { href: "/docs" }, "HTTP calls"),
          h("a", { href: "/metrics" }, "Metrics"),
        ),
    ),
  );

/** @param {import("./live.js").Answer} known */
function pulse(known) {
  const wait = Math.max(0, (state.link.again - performance.now()) / 1000);
  if (document.hidden) return h("span", { class: "pill" }, "paused");
  if (state.locked) return h("span", { class: "pill warn" }, "locked");
  if (state.link.down) return h("span", { class: "pill bad" }, `no answer, again in ${Math.ceil(wait)} s`);
  if (!known.body) return h("span", { class: "pill" }, "connecting");
  return h(
    "span",
    { class: "pill good", title: `as of ${clock(known.body.as_of.time)}, epoch ${known.body.as_of.epoch}` },
    "live",
  );
}

function themes() {
  const now = document.documentElement.dataset.theme ?? "system";
  const pick = (/** @type {string} */ theme) => {
    if (theme === "system") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("pct-theme");
    } else {
      document.documentElement.dataset.theme = theme;
      localStorage.setItem("pct-theme", theme);
    }
    redraw();
  };
  const buttons = [
    ["light", "sun"],
    ["system", "system"],
    ["dark", "moon"],
  ];
  return h(
    "div",
    { class: "themes", role: "group", "aria-label": "Colours" },
    buttons.map(([theme, sign]) =>
      h(
        "button",
        {
          key: theme,
          type: "button",
          "aria-pressed": String(theme === now),
          "aria-label": `${theme} colours`,
          title: theme,
          onClick: () => pick(theme),
        },
        icon(/** @type {any} */ (sign)),
      ),
    ),
  );
}
