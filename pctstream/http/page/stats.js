// The tree in six numbers.

import { h } from "./vendor/preact.js";
import { arriving, count, percent, rate } from "./words.js";

/** @param {any} tree @param {any} all @param {any} owned */
export function stats(tree, all, owned) {
  const list = all?.shards ?? [];
  const sum = (/** @type {(s: any) => number} */ of) =>
    list.reduce((/** @type {number} */ n, /** @type {any} */ s) => n + of(s), 0);
  const lag = sum((s) =>
    s.inputs.reduce(
      (/** @type {number} */ n, /** @type {any} */ i) =>
        n + Math.max(0, i.end - 1 - Math.max(i.stored, i.routed)),
      0,
    ),
  );
  const most = Math.max(0, ...list.map((/** @type {any} */ s) => s.load));
  const nodes = (tree?.levels ?? []).reduce(
    (/** @type {number} */ n, /** @type {any} */ l) => n + l.nodes,
    0,
  );
  /** @type {[string, string, any, string?][]} */
  const told = [
    [
      "rows",
      "Rows",
      tree && count(tree.rows),
      tree && (tree.dimension ? `of ${count(tree.dimension)} numbers` : "none has come yet"),
    ],
    ["rate", "Coming in", all && rate(arriving(owned?.portions) ?? sum((s) => s.rate)), "rows/s"],
    ["lag", "Waiting", all && count(lag), "messages"],
    ["nodes", "Nodes", tree && count(nodes), tree && `on ${tree.levels.length} levels, ${tree.state}`],
    ["most", "Fullest shard", all && percent(most), "of its share"],
    ["epoch", "Epoch", tree && count(tree.epoch), "of the routing"],
  ];
  return h(
    "dl",
    { class: "stats" },
    told.map(([key, name, value, unit]) =>
      h(
        "div",
        { key },
        h("dt", null, name),
        h("dd", null, h("span", { "data-of": key }, value || "–"), " ", value && h("small", null, unit)),
      ),
    ),
  );
}
