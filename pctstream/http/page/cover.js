// The cover of a level: its entries in the plane in which they are widest, as large as their weight.

import { live } from "./live.js";
import { card, choice, empty, lacking, shard, Sized, table } from "./parts.js";
import { go, set, state, to } from "./state.js";
import { h } from "./vendor/preact.js";
import { count, figure, percent } from "./words.js";

const LISTED = 14;
const NAMED = 16;
const SIDE = 34;

export function cover() {
  const known = live("/v1/tree");
  const numbers = (known.body?.levels ?? []).map((/** @type {any} */ l) => l.level);
  const level = /^\d+$/.test(state.of) ? Number(state.of) : Math.min(1, Math.max(0, ...numbers));
  const seen = live(`/v1/levels/${level}/projection`, 3);
  const right =
    numbers.length > 0 &&
    choice(
      "Level",
      numbers.map((/** @type {number} */ n) => [n, `level ${n}`]),
      level,
      (n) => go("cover", String(n)),
    );
  const body = seen.body;
  const note =
    body && `ε ${figure(body.epsilon)}, ${count(body.entries)} entries for ${count(body.rows)} rows`;
  if (body && !body.cover.some((/** @type {any} */ e) => e.at)) {
    return card(
      `Cover of level ${level}`,
      empty(
        "cover",
        "No entry of this level has a centre yet",
        h("p", null, "It comes with N0's first split."),
      ),
      { right, note },
    );
  }
  return h(
    "div",
    { class: "grid two" },
    card(`Cover of level ${level}`, lacking(seen) ?? picture(body), { right, note }),
    card("Heaviest entries", lacking(seen) ?? heaviest(body)),
  );
}

/** @param {any} body */
function picture(body) {
  const [first, second] = body.explained;
  const over = body.cover.find((/** @type {any} */ e) => e.node === state.entry);
  return h(
    "div",
    null,
    h(Sized, {
      draw: (/** @type {number} */ width) =>
        plane(body, width, Math.max(260, Math.min(620, Math.round(width * 0.66)))),
    }),
    h(
      "p",
      { class: "told" },
      over
        ? [
            `${over.node} · ${count(over.rows)} rows · weight ${figure(over.w)} · within ${figure(over.radius)} of its centre · `,
            shard(over.shard),
          ]
        : "Area: weight. Colour: shard. Point at an entry, or walk through them with the arrows, to see its ball; Enter opens its node.",
    ),
    h(
      "p",
      { class: "quiet" },
      `Two directions of ${percent(first)} and ${percent(second)} of the spread; what lies across them is not seen, so entries may be farther apart than they look.`,
      body.left_out.entries > 0 &&
        ` ${count(body.left_out.entries)} lighter entries with ${count(body.left_out.rows)} rows are not drawn.`,
    ),
  );
}

/** @param {any} body @param {number} width @param {number} height */
function plane(body, width, height) {
  const points = body.cover.filter((/** @type {any} */ e) => e.at);
  const at = [0, 1].map((i) => points.map((/** @type {any} */ e) => e.at[i]));
  const [low, high] = [at.map((v) => Math.min(...v)), at.map((v) => Math.max(...v))];
  const reach =
    Math.max((high[0] - low[0]) / (width - 2 * SIDE), (high[1] - low[1]) / (height - 2 * SIDE)) || 1;
  const x = (/** @type {number} */ v) => width / 2 + (v - (low[0] + high[0]) / 2) / reach;
  const y = (/** @type {number} */ v) => height / 2 - (v - (low[1] + high[1]) / 2) / reach;
  const size = (/** @type {number} */ w) => Math.max(2.5, Math.sqrt(w) * Math.min(width, height) * 0.16);
  const over = points.find((/** @type {any} */ e) => e.node === state.entry);
  const bar = body.epsilon / reach;
  return h(
    "svg",
    {
      class: "plane",
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      role: "group",
      "aria-label": `Entries of level ${body.level}, the heaviest first`,
      onKeyDown: walk,
    },
    h("line", { class: "cross", x1: x(0), x2: x(0), y1: 0, y2: height }),
    h("line", { class: "cross", x1: 0, x2: width, y1: y(0), y2: y(0) }),
    over?.radius &&
      h("circle", {
        class: "ball",
        cx: x(over.at[0]),
        cy: y(over.at[1]),
        r: over.radius / reach,
        "data-ball": over.node,
      }),
    points.map((/** @type {any} */ e) =>
      h("circle", {
        key: e.node,
        cx: x(e.at[0]),
        cy: y(e.at[1]),
        r: size(e.w),
        "data-entry": e.node,
        class: e.node === state.entry ? "on" : "",
        style: { "--of": `var(--s${(e.shard ?? 0) % 8})` },
        tabindex: e.node === (over ?? points[0]).node ? 0 : -1,
        role: "link",
        "aria-label": `${e.node}, ${count(e.rows)} rows, weight ${figure(e.w)}, shard ${e.shard ?? "none"}`,
        onClick: () => go("tree", e.node),
        onKeyDown: (/** @type {KeyboardEvent} */ k) => {
          if (k.key === "Enter") go("tree", e.node);
        },
        onMouseEnter: () => set({ entry: e.node }),
        onMouseLeave: () => set({ entry: "" }),
        onFocus: () => set({ entry: e.node }),
        onBlur: () => set({ entry: "" }),
      }),
    ),
    named(points, x, y).map((/** @type {any} */ e) =>
      h(
        "text",
        {
          key: e.node,
          class: "name",
          x: x(e.at[0]),
          y: y(e.at[1]) + (size(e.w) > 13 ? 4 : -size(e.w) - 4),
          "text-anchor": "middle",
          "aria-hidden": "true",
        },
        e.node,
      ),
    ),
    bar > 6 &&
      bar < width - 2 * SIDE &&
      h(
        "g",
        { "aria-hidden": "true" },
        h("path", { class: "scale", fill: "none", d: `M10 ${height - 14}v6h${bar}v-6` }),
        h("text", { x: 12, y: height - 16 }, `ε ${figure(body.epsilon)}`),
      ),
  );
}

/** Arrows go from an entry to the next lighter or heavier one. @param {KeyboardEvent} event */
function walk(event) {
  const all = [.../** @type {Element} */ (event.currentTarget).querySelectorAll("[data-entry]")];
  const at = all.indexOf(/** @type {Element} */ (event.target));
  /** @type {Record<string, number>} */
  const ways = {
    ArrowRight: at + 1,
    ArrowDown: at + 1,
    ArrowLeft: at - 1,
    ArrowUp: at - 1,
    Home: 0,
    End: all.length - 1,
  };
  if (at < 0 || !(event.key in ways)) return;
  event.preventDefault();
  /** @type {HTMLElement|undefined} */ (all[ways[event.key]])?.focus();
}

/** The heaviest whose names do not cover each other. @param {any[]} points @param {(v: number) => number} x @param {(v: number) => number} y */
function named(points, x, y) {
  /** @type {any[]} */
  const out = [];
  for (const e of points) {
    const clear = out.every(
      (o) =>
        Math.abs(x(o.at[0]) - x(e.at[0])) > 4 * (o.node.length + e.node.length) ||
        Math.abs(y(o.at[1]) - y(e.at[1])) > 15,
    );
    if (clear) out.push(e);
    if (out.length === NAMED) break;
  }
  return out;
}

/** @param {any} body */
function heaviest(body) {
  const some = body.cover.slice(0, LISTED);
  const rows = some.map((/** @type {any} */ e) => [
    h("a", { class: "plain", href: to("tree", e.node) }, e.node),
    h("span", { "data-of": `weight-${e.node}` }, percent(e.w)),
    count(e.rows),
    figure(e.radius),
    shard(e.shard),
  ]);
  return table(["Node", "#Weight", "#Rows", "#Radius", "Shard"], rows, {
    keys: some.map((/** @type {any} */ e) => e.node),
    on: some.findIndex((/** @type {any} */ e) => e.node === state.entry),
  });
}
