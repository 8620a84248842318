// Where each node of the tree is drawn: one band a level, as wide as its rows.

import { above, line } from "./words.js";

/** @typedef {{name: string, level: number, state: string, rows: number, held: number, uncovered: number, children: number, shard: number|null}} Vertex */
/** @typedef {Vertex & {from: number, to: number, band: number}} Placed */

/** Shares of the uncovered rows at which the colour changes. */
export const STEPS = [0.001, 0.01, 0.05, 0.15, 0.4];
/** Narrower nodes are not drawn (share of the width). */
const LEAST = 0.0012;

/** @param {Vertex} v @returns {number|null} null: it has no children whose cover could miss */
export const missed = (v) =>
  v.state !== "splitting" ? null : v.rows ? Math.min(1, v.uncovered / v.rows) : 0;

/** @param {Vertex} v @returns {string} */
export function shade(v) {
  const share = missed(v);
  return share == null ? "" : `u${STEPS.filter((step) => share >= step).length}`;
}

/** From 0 to 1 across `top`; the nodes above it are as wide as it is.
 * @param {Vertex[]} nodes @param {string} top @returns {{placed: Placed[], small: number}} */
export function bands(nodes, top) {
  const known = new Map(nodes.map((v) => [v.name, v]));
  /** @type {Map<string, Vertex[]>} */
  const below = new Map();
  for (const v of nodes) {
    const up = above(v.name);
    if (up != null) below.set(up, [...(below.get(up) ?? []), v]);
  }
  /** @type {Placed[]} */
  const placed = [];
  let small = 0;
  for (const name of line(top)) {
    const v = known.get(name);
    if (v) placed.push({ ...v, from: 0, to: 1, band: v.level });
  }
  const walk = (/** @type {Vertex} */ v, /** @type {number} */ from, /** @type {number} */ to) => {
    const children = below.get(v.name) ?? [];
    // reports are not of one moment: children may have more than the node above them
    const whole =
      Math.max(
        v.rows,
        children.reduce((n, c) => n + c.rows, 0),
      ) || 1;
    let at = from;
    for (const child of children) {
      const end = at + ((to - from) * child.rows) / whole;
      if (end - at >= LEAST) {
        placed.push({ ...child, from: at, to: end, band: child.level });
        walk(child, at, end);
      } else small += 1;
      at = end;
    }
  };
  const first = known.get(top);
  if (first) walk(first, 0, 1);
  return { placed, small };
}
