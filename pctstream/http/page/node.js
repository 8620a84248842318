// All that is known of one node.

import { live } from "./live.js";
import { card, facts, lacking, shard } from "./parts.js";
import { to } from "./state.js";
import { h } from "./vendor/preact.js";
import { above, clock, count, figure, percent, span } from "./words.js";

const MODES = ["covering", "cover found", "splitting"];
/** @type {Record<string, string>} */
const TONES = { covering: "info", waiting: "warn", splitting: "good", sink: "warn", leaf: "" };

/** @param {string} name */
export function node(name) {
  const known = live(`/v1/nodes/${encodeURIComponent(name)}`, 3);
  const up = above(name);
  const right = [
    up && h("a", { key: "up", class: "button", href: to("tree", up) }, "Up"),
    known.body &&
      h("span", { key: "state", class: `tag ${TONES[known.body.state] ?? ""}` }, known.body.state),
  ];
  return card(name, lacking(known) ?? told(known.body), { right, class: "node" });
}

/** @param {any} n */
function told(n) {
  const now = n.as_of.time;
  return h(
    "div",
    { class: "grid" },
    facts(
      [
        ["Rows", count(n.rows), "rows"],
        ["At the node itself", count(n.held), "held"],
        [
          "Uncovered",
          n.state === "splitting"
            ? [
                count(n.uncovered),
                h("small", null, ` ${percent(n.rows ? Math.min(1, n.uncovered / n.rows) : 0)}`),
              ]
            : null,
          "uncovered",
        ],
        ["Children", count(n.children.length), "children"],
        ["Level", count(n.level)],
        ["Epsilon", figure(n.epsilon), "epsilon"],
        ["Prototypes", n.prototypes ? count(n.prototypes) : null, "prototypes"],
        ["Radius", n.radius == null ? null : figure(n.radius)],
        ["Mean distance", n.mean_distance == null ? null : figure(n.mean_distance)],
        ["Cover from", n.cover_rows == null ? null : `${count(n.cover_rows)} rows`],
        ["Gap", n.gap == null ? null : `${count(n.gap)} rows`],
        [
          "A row is missed",
          n.miss_bound && [
            `≤ ${percent(n.miss_bound.p)}`,
            h("small", null, ` ${percent(n.miss_bound.confidence)} sure`),
          ],
        ],
        [
          "Entropy of cells",
          n.entropy &&
            h(
              "span",
              { title: "before k-means, after; 1: all equally likely" },
              `${figure(n.entropy.before)} → ${figure(n.entropy.after)}`,
            ),
        ],
        ["Shard", n.shard == null ? null : shard(n.shard)],
        ["Portion", n.portion],
        ["Lag", `${count(n.lag)} messages`],
        ["Last progress", n.last_progress == null ? null : `${span(Math.max(0, now - n.last_progress))} ago`],
        ["Restarts", n.restarts ? count(n.restarts) : null],
        ["Stalled", n.stalled],
        ["Limit reached", n.limit],
      ],
      "node-",
    ),
    h(
      "div",
      null,
      h("h3", null, "Topic"),
      n.topic
        ? h("code", null, n.topic)
        : h("span", { class: "quiet" }, "below the cut: no topic of its own"),
    ),
    n.history.length > 0 &&
      h(
        "div",
        null,
        h("h3", null, "History"),
        h(
          "ul",
          { class: "quiet" },
          n.history.map((/** @type {any} */ e, /** @type {number} */ i) =>
            h("li", { key: i }, `${clock(e.time)}  mode ${e.mode}, ${MODES[e.mode] ?? ""}, epoch ${e.epoch}`),
          ),
        ),
      ),
  );
}
