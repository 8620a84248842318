// A row by its id, and the rows nearest to it: where they are, and what was looked at to know.

import { ask } from "./asking.js";
import { bones, card, empty, facts, shard, table } from "./parts.js";
import { go, redraw, set, state, to } from "./state.js";
import { h } from "./vendor/preact.js";
import { count, day, figure, line, percent, written } from "./words.js";

/** @type {{of: string|null, busy: boolean, row: any, near: any, wrong: string, k: number, exact: boolean}} */
const now = { of: null, busy: false, row: null, near: null, wrong: "", k: 10, exact: true };

export function search() {
  if (now.of !== state.of && state.view === "search") look(state.of);
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const said = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    Object.assign(now, {
      k: Math.max(1, Math.min(1000, Number(said.get("k")) || 10)),
      exact: said.get("exact") === "on",
    });
    const id = String(said.get("id"));
    if (id === state.of) look(id);
    else go("search", id);
  };
  return h(
    "div",
    { class: "grid" },
    card(
      "Row by id",
      h(
        "form",
        { class: "form", role: "search", onSubmit: submit, key: state.of },
        h(
          "label",
          { class: "field grow" },
          "Id",
          h("input", {
            name: "id",
            defaultValue: state.of,
            required: true,
            autocomplete: "off",
            spellcheck: false,
            placeholder: "the id a row was given",
          }),
        ),
        h(
          "label",
          { class: "field small" },
          "Nearest rows",
          h("input", { name: "k", type: "number", min: 1, max: 1000, defaultValue: now.k }),
        ),
        h(
          "label",
          { class: "check" },
          h("input", { name: "exact", type: "checkbox", defaultChecked: now.exact }),
          "exact",
        ),
        h("button", { class: "do main", type: "submit", disabled: now.busy }, now.busy ? "Asking" : "Search"),
      ),
    ),
    h("div", { "aria-live": "polite", class: "grid" }, found()),
  );
}

function found() {
  if (now.wrong)
    return card(
      "Not found",
      empty(
        "search",
        now.wrong,
        h("p", null, "Ids are compared as they were written, capitals and spaces too."),
      ),
    );
  if (!now.of)
    return card(
      "Nothing asked yet",
      empty(
        "search",
        "Ask for a row by its id",
        h(
          "p",
          null,
          "Only shards whose Bloom filter does not deny the id are asked; then the rows nearest to it are searched over all shards.",
        ),
      ),
    );
  if (!now.row) return card("Asking the shards", bones());
  return [
    card("The row", row(now.row), { note: now.row.partial ? "some shards did not answer" : "" }),
    card("Nearest rows", now.near ? near(now.near) : bones(), now.near ? { note: verdict(now.near) } : {}),
    now.near?.explain && card("How it was found", explained(now.near.explain)),
  ];
}

/** @param {string} id */
async function look(id) {
  Object.assign(now, { of: id, row: null, near: null, wrong: "", busy: !!id });
  if (!id) return;
  try {
    const row = await ask(`/v1/rows/${encodeURIComponent(id)}`);
    if (now.of !== id) return;
    now.row = row;
    redraw();
    now.near = await ask("/v1/search", {
      vector: row.vector,
      k: now.k,
      explain: true,
      include: ["payload"],
      ...(now.exact ? { exact: true } : { exact: false }),
    });
  } catch (error) {
    const { status, message } = /** @type {any} */ (error);
    if (now.of !== id) return;
    if (status === 401) set({ locked: true });
    now.wrong = status === 404 ? `No row has the id ${id}` : message;
  } finally {
    if (now.of === id) {
      now.busy = false;
      redraw();
    }
  }
}

/** @param {any} r */
function row(r) {
  const payload = Object.entries(r.payload ?? {});
  return h(
    "div",
    { class: "grid" },
    facts(
      [
        ["Id", h("code", null, String(r.id)), "id"],
        ["Time", day(r.time)],
        ["Shard", shard(r.shard)],
        ["Origin", h("code", null, String(r.origin)), "origin"],
        ["Shards asked", `${count(r.bloom.asked)} of ${count(r.bloom.asked + r.bloom.skipped)}`, "asked"],
      ],
      "row-",
    ),
    h(
      "div",
      null,
      h("h3", null, "Node"),
      h(
        "div",
        { class: "path" },
        line(r.node ?? "N0").map((name, i) => [
          i ? h("span", { class: "quiet" }, "›") : null,
          h("a", { key: name, href: to("tree", name), class: "plain" }, name),
        ]),
      ),
    ),
    h(
      "div",
      { class: "grid half" },
      payload.length > 0 &&
        h(
          "div",
          { class: "payload" },
          h("h3", null, "Payload"),
          h(
            "table",
            null,
            h(
              "tbody",
              null,
              payload.map(([key, value]) =>
                h("tr", { key }, h("td", null, key), h("td", null, written(value))),
              ),
            ),
          ),
        ),
      h("div", null, h("h3", null, `Vector, ${count(r.vector.length)} numbers`), bars(r.vector)),
    ),
  );
}

const BARS = 256;

/** @param {number[]} vector */
function bars(vector) {
  const shown = vector.slice(0, BARS);
  const most = Math.max(...vector.map(Math.abs)) || 1;
  const first = vector.slice(0, 8).map(figure).join("  ");
  return h(
    "div",
    null,
    h(
      "div",
      {
        class: "vector",
        role: "img",
        "aria-label": `bars of the first ${shown.length} numbers, the largest ${figure(most)}`,
      },
      shown.map((v, i) =>
        h("i", {
          key: i,
          class: v < 0 ? "minus" : "",
          style: { height: `${Math.max(3, (Math.abs(v) / most) * 100)}%` },
          title: `${i}: ${v}`,
        }),
      ),
    ),
    h("p", { class: "quiet" }, h("code", null, first), vector.length > 8 ? " …" : ""),
  );
}

/** @param {any} found */
function verdict(found) {
  const sure = found.exact
    ? "exact"
    : found.expected_recall == null
      ? "not whole"
      : `recall of ${percent(found.expected_recall)} expected`;
  return found.partial ? `${sure}, some shards did not answer` : sure;
}

/** @param {any} found */
function near(found) {
  const fields = [...new Set(found.results.flatMap((/** @type {any} */ r) => Object.keys(r.payload ?? {})))]
    .slice(0, 4)
    .map(String);
  const rows = found.results.map((/** @type {any} */ r) => [
    h("a", { class: "plain long", href: to("search", String(r.id ?? "")) }, String(r.id ?? "no id")),
    h("span", { "data-of": "distance" }, figure(r.distance)),
    h("a", { class: "plain", href: to("tree", r.node) }, r.node),
    shard(r.shard),
    ...fields.map((f) =>
      h("span", { class: "long" }, r.payload?.[f] === undefined ? "–" : written(r.payload[f])),
    ),
  ]);
  return table(
    ["Id", "#Distance", "Node", "Shard", ...fields.map((f) => (f[0] === "#" ? ` ${f}` : f))],
    rows,
  );
}

/** @param {any} e */
function explained(e) {
  const rows = e.shards.map((/** @type {any} */ s) => [
    shard(s.shard),
    s.round,
    count(s.cells_scanned),
    count(s.cells_skipped),
    h("span", { "data-of": "scanned" }, count(s.rows_scanned)),
    count(s.rows_skipped),
    s.rows_skipped || s.cells_skipped ? s.skipped_by : "–",
  ]);
  const all = e.rows_scanned + e.rows_skipped;
  return h(
    "div",
    { class: "grid" },
    h(
      "p",
      null,
      `${count(e.rows_scanned)} of ${count(all)} rows were compared (${percent(all ? e.rows_scanned / all : 0)}), in ${count(e.cells_scanned)} of ${count(e.cells_scanned + e.cells_skipped)} cells; the others cannot have a nearer row.`,
    ),
    table(
      ["Shard", "Round", "#Cells read", "#Cells skipped", "#Rows read", "#Rows skipped", "Skipped by"],
      rows,
    ),
    e.no_answer.length > 0 && h("p", { class: "error" }, `No answer from shards ${e.no_answer.join(", ")}.`),
  );
}
