// Where rows lie: the density map with the regions of the spatial index, to zoom and to walk through.

import { Canvas } from "./canvas.js";
import { live } from "./live.js";
import { card, empty, facts, lacking, shard, table } from "./parts.js";
import { set, state } from "./state.js";
import { h } from "./vendor/preact.js";
import { clock, count, figure } from "./words.js";

const LISTED = 12;

export function map() {
  const density = live("/v1/spatial/density", 4);
  const regions = live("/v1/spatial/regions", 4);
  if (density.error?.status === 404) {
    return card(
      "Map",
      empty(
        "map",
        "No position is indexed here",
        h(
          "p",
          null,
          "Rows that carry a position, as two fields of the payload or two numbers of the vector, are found by it once this is set:",
        ),
        h("code", null, '[spatial] enabled = true, x = "lon", y = "lat"'),
      ),
    );
  }
  if (!density.body) return card("Map", lacking(density));
  if (!density.body.rows)
    return card("Map", empty("map", "No row with a position has come yet", unplaced(density.body)));
  const all = regions.body?.regions ?? [];
  const shown = all.filter((/** @type {any} */ r) => state.mapShard == null || r.shard === state.mapShard);
  const shards = [...new Set(all.map((/** @type {any} */ r) => r.shard))].sort((a, b) => a - b);
  const right = [
    h(
      "label",
      { key: "r", class: "check" },
      h("input", {
        type: "checkbox",
        checked: state.edges !== false,
        onChange: (/** @type {any} */ e) => set({ edges: e.currentTarget.checked }),
      }),
      "regions",
    ),
    h(
      "label",
      { key: "s", class: "field" },
      h("span", { class: "sr" }, "Regions of"),
      h(
        "select",
        {
          value: state.mapShard ?? "",
          onChange: (/** @type {any} */ e) =>
            set({ mapShard: e.currentTarget.value === "" ? null : Number(e.currentTarget.value) }),
        },
        h("option", { value: "" }, "all shards"),
        shards.map((s) => h("option", { key: s, value: s }, `shard ${s}`)),
      ),
    ),
  ];
  const most = Math.max(...density.body.counts.map((/** @type {number[]} */ c) => Math.max(...c)));
  const d = density.body;
  return h(
    "div",
    { class: "grid two" },
    card(
      "Density",
      h(
        "div",
        null,
        h(Canvas, { density: d, regions: state.edges === false ? [] : shown, on: state.region }),
        h(
          "p",
          { class: "told", "aria-live": "off" },
          state.cell ||
            "Point at a cell to count its rows. Drag to move, scroll with Ctrl to zoom; with the keyboard: arrows, + and -, 0 for all.",
        ),
        h(
          "div",
          { class: "legend" },
          h("span", null, "1"),
          h("i", { class: "ramp", role: "img", "aria-label": "colour by rows, logarithmic" }),
          h("span", null, `${count(most)} rows in a cell`),
        ),
      ),
      { right, note: d.partial ? "some shards did not answer" : `${count(d.rows)} rows` },
    ),
    h(
      "div",
      { class: "grid" },
      card(
        "The map",
        facts(
          [
            ["Rows with a position", count(d.rows), "placed"],
            [
              "Without one",
              count(
                Object.values(d.unplaced).reduce((/** @type {number} */ n, /** @type {any} */ m) => n + m, 0),
              ),
              "unplaced",
            ],
            ["Cells", `${count(d.counts.length)} × ${count(d.counts[0].length)}`],
            ["Regions", regions.body && count(regions.body.number), "regions"],
            ["x from", figure(d.bounds[0])],
            ["to", figure(d.bounds[2])],
            ["y from", figure(d.bounds[1])],
            ["to ", figure(d.bounds[3])],
          ],
          "map-",
        ),
      ),
      card("Regions", lacking(regions) ?? crowded(shown), { note: "those with the most rows" }),
      regions.body && card("Last changes", adjusted(regions.body.shards)),
    ),
  );
}

/** @param {any} body */
const unplaced = (body) =>
  h(
    "p",
    null,
    Object.entries(body.unplaced)
      .map(([why, n]) => `${count(/** @type {any} */ (n))} rows: ${why}`)
      .join("; "),
  );

/** @param {any[]} regions */
function crowded(regions) {
  const some = [...regions].sort((a, b) => b.rows - a.rows).slice(0, LISTED);
  const rows = some.map((r) => [
    h(
      "button",
      {
        class: "link",
        type: "button",
        "aria-pressed": String(state.region === r.id),
        onClick: () => set({ region: state.region === r.id ? null : r.id, edges: true }),
      },
      r.id,
    ),
    count(r.rows),
    count(r.depth),
    `${figure(r.box[2] - r.box[0])} × ${figure(r.box[3] - r.box[1])}`,
  ]);
  return table(["Region", "#Rows", "#Depth", "#Size"], rows, {
    keys: some.map((r) => r.id),
    on: some.findIndex((r) => r.id === state.region),
  });
}

/** @param {any[]} shards */
function adjusted(shards) {
  const rows = shards.map((s) => [
    shard(s.shard),
    count(s.regions),
    s.last
      ? count(s.adjustments.reduce((/** @type {number} */ n, /** @type {any} */ a) => n + a.splits, 0))
      : "–",
    s.last
      ? count(s.adjustments.reduce((/** @type {number} */ n, /** @type {any} */ a) => n + a.merges, 0))
      : "–",
    s.last ? clock(s.last.time) : s.told ? `as told at ${clock(s.told)}` : "–",
  ]);
  return table(["Shard", "#Regions", "#Splits", "#Merges", "#Last look"], rows);
}
