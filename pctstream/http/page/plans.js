// Plans: which portions should move, what it gains, and to do it.

import { live } from "./live.js";
import { card, lacking, shard, table } from "./parts.js";
import { order } from "./moves.js";
import { state } from "./state.js";
import { h } from "./vendor/preact.js";
import { bytes, clock, count, percent } from "./words.js";

export function plans() {
  const known = live("/v1/plans?limit=1", 6);
  const last = known.body?.plans[0];
  const again = h(
    "button",
    {
      class: "do",
      type: "button",
      disabled: !!state.busy,
      onClick: () =>
        order(
          "/v1/plans",
          { dry_run: true, reason: "from the page" },
          "A plan is made; nothing moves before it is applied.",
        ),
    },
    "Make a plan",
  );
  const decided = known.body?.decisions[0];
  return card(
    "Plan",
    lacking(known) ??
      h(
        "div",
        { class: "grid" },
        last
          ? one(last)
          : h(
              "p",
              { class: "quiet" },
              "No plan has been made yet. One says which portions should move, and moves nothing.",
            ),
        decided && h("p", { class: "quiet" }, `By itself, at ${clock(decided.time)}: ${decided.why}`),
      ),
    { right: again },
  );
}

/** @param {any} p */
function one(p) {
  const rows = p.moves.map((/** @type {any} */ m) => [
    m.portion,
    h("span", { class: "way" }, shard(m.from), "→", shard(m.to)),
    count(m.rows),
    bytes(m.bytes),
  ]);
  return h(
    "div",
    { class: "grid" },
    h(
      "p",
      null,
      `${p.id}, made at ${clock(p.time)}: the fullest shard goes from ${percent(p.before.max_load)} to ${percent(p.after.max_load)} of its share; ${percent(p.bound.max_load)} is the least that any plan can reach.`,
    ),
    p.moves.length
      ? table(["Portion", "From, to", "#Rows", "#Bytes"], rows, {
          keys: p.moves.map((/** @type {any} */ m) => m.portion),
        })
      : h("p", { class: "quiet" }, "It moves nothing: no other place is better."),
    p.moves.length > 0 &&
      !p.applied &&
      h(
        "div",
        null,
        h(
          "button",
          {
            class: "do main",
            type: "button",
            disabled: !!state.busy,
            onClick: () =>
              order(`/v1/plans/${encodeURIComponent(p.id)}/apply`, {}, `Plan ${p.id} is applied.`),
          },
          `Apply ${p.id}`,
        ),
      ),
    p.applied && h("p", null, h("span", { class: "tag good" }, "applied")),
  );
}
