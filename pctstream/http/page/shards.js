// The shards: what comes to each, what it can carry, what is expected, and the portions it owns.

import { chart } from "./chart.js";
import { live } from "./live.js";
import { card, empty, facts, lacking, shard, table } from "./parts.js";
import { set, state, to } from "./state.js";
import { h } from "./vendor/preact.js";
import { arriving, bytes, clock, count, figure, percent, rate, span } from "./words.js";

const SILENT_S = 10;
const LISTED = 12;

export function shards() {
  const all = live("/v1/shards");
  const ahead = live("/v1/outlook", 4);
  const owned = live("/v1/portions", 4);
  const moving = (live("/v1/moves", 6).body?.moves ?? []).filter(
    (/** @type {any} */ m) => m.stage !== "DONE" && m.stage !== "ABORTED",
  );
  if (!all.body) return card("Shards", lacking(all));
  if (!all.body.shards.length)
    return card(
      "Shards",
      empty(
        "shards",
        "No shard has reported yet",
        h("p", null, "They do as soon as the group has spread them over the workers."),
      ),
    );
  const full = Math.max(1.25, ...all.body.shards.map((/** @type {any} */ s) => s.load));
  return h(
    "div",
    { class: "shards" },
    all.body.shards.map((/** @type {any} */ s) => one(s, all.body, ahead.body, owned.body, moving, full)),
  );
}

/** @param {any} s @param {any} all @param {any} ahead @param {any} owned @param {any[]} moving @param {number} full */
function one(s, all, ahead, owned, moving, full) {
  const [comes, goes] = ["to", "from"].map((way) =>
    moving
      .filter((m) => m[way] === s.shard)
      .map((m) => m.portion)
      .join("; "),
  );
  const seen = ahead?.shards.find((/** @type {any} */ o) => o.shard === s.shard);
  const lag = s.inputs.reduce(
    (/** @type {number} */ n, /** @type {any} */ i) =>
      n + Math.max(0, i.end - 1 - Math.max(i.stored, i.routed)),
    0,
  );
  const portions = (owned?.portions ?? [])
    .filter((/** @type {any} */ p) => p.owner === s.shard)
    .sort((/** @type {any} */ a, /** @type {any} */ b) => b.rate - a.rate);
  const key = `shard-${s.shard}-`;
  return h(
    "section",
    {
      key: s.shard,
      class: "card shard",
      "aria-label": `Shard ${s.shard}`,
      style: { "--of": `var(--s${s.shard % 8})` },
    },
    h(
      "header",
      null,
      h("h2", null, shard(s.shard)),
      h("span", { class: "note" }, s.worker),
      h("div", { class: "right" }, standing(s, all.as_of.time, !!comes)),
    ),
    h(
      "div",
      { class: "body" },
      h(
        "div",
        { class: "load" },
        h("b", { "data-of": `${key}load` }, percent(s.load)),
        h(
          "span",
          null,
          ahead?.capacity_known ? "of what it can carry" : "of its even share",
          comes && `, with ${comes}, moving here`,
          goes && `, without ${goes}, moving away`,
        ),
      ),
      h(
        "div",
        {
          class: `bar ${s.load > 1 ? "over" : ""}`,
          role: "meter",
          "aria-label": "Load",
          "aria-valuemin": 0,
          "aria-valuemax": Math.round(full * 100),
          "aria-valuenow": Math.round(s.load * 100),
          "aria-valuetext": percent(s.load),
        },
        h("i", { style: { width: `${Math.min(1, s.load / full) * 100}%` } }),
        h("b", { style: { left: `${100 / full}%` }, title: "100 %" }),
      ),
      seen ? chart(seen.past, seen.forecast, seen.full_rows_s, `Shard ${s.shard}`) : null,
      seen &&
        seen.without_forecast.length > 0 &&
        h("p", { class: "quiet" }, `Without a forecast yet: ${seen.without_forecast.slice(0, 6).join("; ")}`),
      facts(
        [
          ["Rows", count(s.rows), "rows"],
          ["Coming in", `${rate(arriving(portions) ?? s.rate)} rows/s`, "rate"],
          ["Vectors", bytes(s.bytes), "bytes"],
          ["Portions", count(s.portions.length), "portions"],
          ["Waiting", `${count(lag)} messages`, "lag"],
          ["Capacity", `weight ${figure(s.capacity)}`, "capacity"],
          ["Shadow of", s.shadows.length ? s.shadows.join("; ") : null],
          ["Still at N0", s.held ? `${count(s.held)} rows` : null],
          [
            "Bloom filter",
            s.bloom
              ? h(
                  "span",
                  { title: `${count(s.bloom.keys)} ids, false positives ${figure(s.bloom.fpr)}` },
                  bytes(s.bloom.bits / 8),
                )
              : null,
          ],
        ],
        key,
      ),
      portions.length > 0 &&
        h(
          "details",
          {
            open: state.unfolded === s.shard,
            onToggle: (/** @type {any} */ e) => {
              if (e.currentTarget.open) set({ unfolded: s.shard });
              else if (state.unfolded === s.shard) set({ unfolded: null });
            },
          },
          h("summary", null, portions.length === 1 ? "1 portion" : `${count(portions.length)} portions`),
          state.unfolded === s.shard && listed(portions),
        ),
    ),
  );
}

/** @param {any} s @param {number} now @param {boolean} comes whether its load counts what is still elsewhere */
function standing(s, now, comes) {
  if (s.inputs.some((/** @type {any} */ i) => i.error))
    return h("span", { class: "pill bad" }, "an input is broken");
  if (now - s.time > SILENT_S)
    return h(
      "span",
      { class: "pill warn", title: `last word at ${clock(s.time)}` },
      `silent for ${span(now - s.time)}`,
    );
  if (s.drained) return h("span", { class: "pill warn" }, "drained");
  if (s.load > 1 && comes) return h("span", { class: "pill warn" }, "will be over its load");
  return s.load > 1
    ? h("span", { class: "pill bad" }, "over its load")
    : h("span", { class: "pill good" }, "in step");
}

/** @param {any[]} portions */
function listed(portions) {
  const name =
    state.portion && portions.some((p) => p.portion === state.portion) ? state.portion : portions[0].portion;
  const seen = live(`/v1/drift/${encodeURIComponent(name)}`, 4);
  const rows = portions.slice(0, LISTED).map((p) => [
    h(
      "button",
      {
        class: "link",
        type: "button",
        "aria-pressed": String(p.portion === name),
        onClick: () => set({ portion: p.portion }),
      },
      p.portion,
    ),
    count(p.rows),
    rate(p.rate),
    p.drift_score == null ? "–" : figure(p.drift_score),
    p.pinned
      ? h("span", { class: "tag" }, "pinned")
      : p.shadow != null
        ? h("a", { href: to("moves") }, `moving to ${p.shadow}`)
        : "",
  ]);
  const d = seen.body;
  return h(
    "div",
    null,
    table(["Portion", "#Rows", "#rows/s", "#Drift", ""], rows, {
      keys: portions.map((p) => p.portion),
      on: portions.findIndex((p) => p.portion === name),
    }),
    portions.length > LISTED &&
      h("p", { class: "quiet" }, `and ${count(portions.length - LISTED)} with fewer`),
    d && chart(d.density, d.forecast, null, name),
    d &&
      h(
        "p",
        { class: "quiet" },
        `${name}: model ${d.model}, error ${figure(d.mase)} of a naive forecast's scale (naive ${figure(d.naive_mase)}). Drift: the change that is predicted, in units of its noise.`,
      ),
  );
}
