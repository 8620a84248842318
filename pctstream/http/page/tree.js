// The tree: bands to walk through with mouse or keys, the levels, and all that is known of one node.

import { bands, missed, shade, STEPS } from "./bands.js";
import { live } from "./live.js";
import { node } from "./node.js";
import { card, empty, lacking, Sized, table } from "./parts.js";
import { go, set, state, to } from "./state.js";
import { h } from "./vendor/preact.js";
import { above, count, figure, line, percent } from "./words.js";

const BAND = 54;
const LEVELS = 4;
/** @typedef {import("./bands.js").Placed} Placed */

export function tree() {
  const picked = /^N0(,\d+)*$/.test(state.of) ? state.of : "N0";
  const known = live("/v1/tree");
  if (!known.body) return card("Nodes by rows", lacking(known));
  if (!known.body.levels.length) return nothing();
  const whole = live("/v1/shape?levels=4", 3);
  const vertex = (whole.body?.nodes ?? []).find((/** @type {any} */ v) => v.name === picked);
  // a node without children is shown in the node above it
  const top = vertex && vertex.children === 0 ? (above(picked) ?? "N0") : picked;
  const near = top === "N0" ? whole : live(`/v1/shape?node=${encodeURIComponent(top)}&levels=${LEVELS}`, 3);
  return h(
    "div",
    { class: "grid two" },
    h(
      "div",
      { class: "grid" },
      card("Nodes by rows", lacking(whole) ?? picture(whole.body, near.body, top, picked, known.body), {
        right: legend(),
      }),
      card("Levels", lacking(known) ?? levels(known.body)),
    ),
    node(picked),
  );
}

const nothing = () =>
  card(
    "Nodes by rows",
    empty(
      "tree",
      "No row has come yet",
      h("p", null, "The first 100 rows fix the dimension, the next ones N0's cover."),
      h("code", null, "pctstream feed vectors.npy --wait"),
    ),
  );

/** @param {any} whole @param {any} near @param {string} top @param {string} picked @param {any} known */
function picture(whole, near, top, picked, known) {
  const ours = new Map(whole.nodes.map((/** @type {any} */ v) => [v.name, v]));
  for (const v of near?.nodes ?? []) ours.set(v.name, v);
  const { placed, small } = bands([...ours.values()], top);
  const depth = Math.max(1, ...placed.map((v) => v.band + 1));
  const least = small + (near?.left_out ?? whole.left_out);
  const shown = placed.find((v) => v.name === (state.over || picked)) ?? placed[0];
  return h(
    "div",
    null,
    h(
      "ol",
      { class: "crumbs", "aria-label": "Zoomed to" },
      line(top).map((name) =>
        h(
          "li",
          { key: name },
          name === top ? h("strong", null, name) : h("a", { href: to("tree", name), class: "plain" }, name),
        ),
      ),
    ),
    h(
      "div",
      { class: "icicle" },
      h(
        "ol",
        { class: "levels", "aria-hidden": "true" },
        Array.from({ length: depth }, (_, n) =>
          h(
            "li",
            { key: n },
            h("b", null, `level ${n}`),
            known?.levels[n]?.epsilon != null && `ε ${figure(known.levels[n].epsilon)}`,
          ),
        ),
      ),
      h(Sized, {
        draw: (/** @type {number} */ width) =>
          h(
            "div",
            {
              class: "bands",
              role: "tree",
              "aria-label": "Nodes of the tree, by rows",
              style: { height: `${depth * BAND - 1}px` },
              onKeyDown: keys(placed),
            },
            placed.map((v) => vertex(v, width, picked)),
          ),
      }),
    ),
    h("p", { class: "told", "aria-live": "off" }, shown && told(shown, whole.nodes[0]?.rows)),
    least > 0 &&
      h(
        "p",
        { class: "quiet" },
        `${count(least)} smaller nodes are not drawn: choose one above them to see more.`,
      ),
  );
}

/** @param {Placed} v @param {number} width @param {string} picked */
function vertex(v, width, picked) {
  const wide = (v.to - v.from) * width;
  const share = missed(v);
  return h(
    "button",
    {
      key: v.name,
      type: "button",
      role: "treeitem",
      class: `vertex ${shade(v)} ${wide < 5 ? "thin sliver" : wide < 22 ? "thin" : ""}`,
      "data-node": v.name,
      tabindex: v.name === picked ? 0 : -1,
      "aria-level": v.band + 1,
      "aria-selected": String(v.name === picked),
      "aria-label": told(v, 0),
      style: { left: `${v.from * 100}%`, width: `${(v.to - v.from) * 100}%`, top: `${v.band * BAND}px` },
      onClick: () => go("tree", v.name),
      onMouseEnter: () => set({ over: v.name }),
      onMouseLeave: () => set({ over: "" }),
      onFocus: () => set({ over: v.name }),
      onBlur: () => set({ over: "" }),
    },
    wide >= 18 + 7 * v.name.length && [
      h("b", { key: "name" }, v.name),
      h(
        "span",
        { key: "share" },
        share == null ? v.state : wide >= 120 ? `${percent(share)} uncovered` : percent(share),
      ),
    ],
  );
}

/** @param {import("./bands.js").Vertex} v @param {number} all */
function told(v, all) {
  const share = missed(v);
  const parts = [v.name, `${count(v.rows)} rows${all ? ` (${percent(v.rows / all)})` : ""}`, v.state];
  if (share != null) parts.push(`${count(v.uncovered)} uncovered (${percent(share)})`);
  if (v.children) parts.push(`${count(v.children)} children`);
  if (v.shard != null) parts.push(`shard ${v.shard}`);
  return parts.join(" · ");
}

/** Arrows walk, Enter and Space choose, Escape goes up. @param {Placed[]} placed */
const keys = (placed) => (/** @type {KeyboardEvent} */ event) => {
  const box = /** @type {HTMLElement} */ (event.currentTarget);
  const at = placed.find((v) => v.name === /** @type {HTMLElement} */ (event.target).dataset.node);
  if (!at) return;
  const beside = placed.filter((v) => v.band === at.band).sort((a, b) => a.from - b.from);
  const here = beside.findIndex((v) => v.name === at.name);
  /** @type {Record<string, string|null|undefined>} */
  const ways = {
    ArrowRight: beside[here + 1]?.name,
    ArrowLeft: beside[here - 1]?.name,
    ArrowUp: above(at.name),
    Home: beside[0]?.name,
    End: beside.at(-1)?.name,
    ArrowDown: placed.find((v) => above(v.name) === at.name)?.name,
  };
  if (event.key === "Escape") {
    event.preventDefault();
    go("tree", above(state.of || "N0") ?? "");
    return;
  }
  if (!(event.key in ways)) return;
  event.preventDefault();
  const next = ways[event.key];
  if (next) /** @type {HTMLElement|null} */ (box.querySelector(`[data-node="${next}"]`))?.focus();
};

function legend() {
  const words = [
    `<${percent(STEPS[0])}`,
    ...STEPS.slice(0, -1).map((step, i) => `${step * 100}–${STEPS[i + 1] * 100} %`),
    `>${percent(STEPS[STEPS.length - 1])}`,
  ];
  return h(
    "div",
    { class: "legend", "aria-label": "Colours" },
    h("span", null, "uncovered rows"),
    words.map((word, i) => h("span", { key: word }, h("i", { style: { "--of": `var(--u${i})` } }), word)),
    h("span", null, h("i", { style: { "--of": "var(--leaf)" } }), "not split"),
    h("span", null, h("i", { class: "hatch" }), "too small, or at the node itself"),
  );
}

/** @param {any} known */
function levels(known) {
  const rows = known.levels.map((/** @type {any} */ l) => [
    h("strong", { "data-of": `level-${l.level}` }, l.level),
    figure(l.epsilon),
    count(l.nodes),
    h("span", { class: "states" }, states(l)),
    count(l.rows),
    h(
      "span",
      { class: "states" },
      l.closed_by ? `closed: ${l.closed_by}` : l.nodes === l.leaves ? "lowest" : "open",
    ),
  ]);
  return table(["Level", "#Epsilon", "#Nodes", "States", "#Rows held here", ""], rows);
}

/** @param {any} l */
const states = (l) =>
  ["covering", "waiting", "splitting", "sinks", "leaves"]
    .filter((s) => l[s])
    .map((s) => `${count(l[s])} ${s}`)
    .join(", ");
