// Moves: how far each is, to pause, resume or cancel; a new one by hand; what a plan would do.

import { ask } from "./asking.js";
import { hurry, live } from "./live.js";
import { bones, card, empty, facts, icon, lacking, shard, table } from "./parts.js";
import { plans } from "./plans.js";
import { say, set, state, to } from "./state.js";
import { h } from "./vendor/preact.js";
import { bytes, clock, count, day, span } from "./words.js";

const STAGES = ["PLANNED", "COPYING", "SHADOWING", "VERIFYING", "DONE"];
/** @type {Record<string, string>} */
const MEANS = {
  PLANNED: "waits for its turn",
  COPYING: "the target pulls the portion",
  SHADOWING: "every new row is written at both",
  VERIFYING: "both say what they hold at one place of the log",
  DONE: "the target answers",
  ABORTED: "given up: the source never stopped answering",
};
const ENDED_SHOWN = 50;

export function moves() {
  const known = live("/v1/moves", 2);
  const all = known.body?.moves ?? [];
  const open = all.filter((/** @type {any} */ m) => m.stage !== "DONE" && m.stage !== "ABORTED");
  const ended = all.filter((/** @type {any} */ m) => !open.includes(m)).reverse();
  return h(
    "div",
    { class: "grid" },
    lacking(known)
      ? card("Under way", lacking(known))
      : open.length
        ? open.map(going)
        : card(
            "Under way",
            empty(
              "moves",
              "Nothing moves",
              h("p", null, "Portions move when a shard is about to be too full, or when you ask."),
            ),
          ),
    h("div", { class: "grid half" }, card("Move a portion", starting()), plans()),
    ended.length > 0 && card("Ended", list(ended), { note: `${count(ended.length)} moves` }),
  );
}

/** @param {string} path @param {object} body @param {string} done @returns {Promise<any>} */
export async function order(path, body, done) {
  set({ busy: path });
  try {
    const said = await ask(path, body);
    say("good", done);
    return said;
  } catch (error) {
    say("bad", String(/** @type {any} */ (error).message));
    return null;
  } finally {
    set({ busy: "", sure: "" });
    hurry("/v1/moves", "/v1/shards", "/v1/portions", "/v1/plans");
  }
}

/** @param {any} m */
function going(m) {
  const at = STAGES.indexOf(m.stage);
  const part = m.rows.total ? Math.min(1, m.rows.copied / m.rows.total) : 0;
  const tell = (/** @type {string} */ what, /** @type {string} */ done) => () =>
    order(`/v1/moves/${encodeURIComponent(m.id)}/${what}`, {}, done);
  const right = [
    m.paused && h("span", { key: "p", class: "tag warn" }, "paused"),
    h("span", { key: "w", class: "way" }, shard(m.from), "→", shard(m.to)),
  ];
  return card(
    `${m.portion} · ${m.id}`,
    h(
      "div",
      { "data-move": m.id },
      h(
        "ol",
        { class: "stages", "aria-label": `Stage: ${m.stage}` },
        STAGES.map((name, i) =>
          h(
            "li",
            {
              key: name,
              class: i < at ? "did" : i === at ? "at" : "",
              "aria-current": i === at ? "step" : undefined,
            },
            name.toLowerCase(),
          ),
        ),
      ),
      m.stage === "COPYING" &&
        h(
          "div",
          {
            class: "bar",
            role: "progressbar",
            "aria-label": "Rows copied",
            "aria-valuemin": 0,
            "aria-valuemax": m.rows.total,
            "aria-valuenow": m.rows.copied,
          },
          h("i", { style: { width: `${part * 100}%` } }),
        ),
      h("p", { class: "told" }, `${MEANS[m.stage]}${m.paused ? "; paused" : ""}`),
      facts([
        [
          "Rows copied",
          h(
            "span",
            null,
            h("span", { "data-of": `${m.id}-copied` }, count(m.rows.copied)),
            h("small", null, ` of ${count(m.rows.total)} rows`),
          ),
        ],
        ["Bytes", m.bytes.total ? `${bytes(m.bytes.copied)} of ${bytes(m.bytes.total)}` : null],
        ["Left", m.eta_s == null ? null : `about ${span(m.eta_s)}`],
        ["Since", clock(m.history.at(-1)?.time)],
        ["Reason", m.reason || null],
        ["Plan", m.plan],
      ]),
      h(
        "div",
        { class: "going" },
        m.paused
          ? h(
              "button",
              {
                class: "do",
                type: "button",
                disabled: !!state.busy,
                onClick: tell("resume", `${m.portion} goes on.`),
              },
              icon("play"),
              "Resume",
            )
          : h(
              "button",
              {
                class: "do",
                type: "button",
                disabled: !!state.busy,
                onClick: tell("pause", `${m.portion} is paused.`),
              },
              icon("pause"),
              "Pause",
            ),
        state.sure === m.id
          ? [
              h(
                "button",
                {
                  key: "yes",
                  class: "do danger",
                  type: "button",
                  disabled: !!state.busy,
                  onClick: tell("cancel", `The move of ${m.portion} is called off.`),
                },
                icon("stop"),
                "Cancel this move for good",
              ),
              h(
                "button",
                { key: "no", class: "do", type: "button", onClick: () => set({ sure: "" }) },
                "Keep it",
              ),
            ]
          : h(
              "button",
              { class: "do danger", type: "button", onClick: () => set({ sure: m.id }) },
              icon("stop"),
              "Cancel",
            ),
      ),
    ),
    { right },
  );
}

function starting() {
  const owned = live("/v1/portions", 6);
  const all = live("/v1/shards");
  if (!owned.body) return lacking(owned) ?? bones();
  if (!owned.body.portions.length)
    return empty("tree", "No portion yet", h("p", null, "They come with N0's first split."));
  const start = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    const said = new FormData(form);
    const [portion, target] = [String(said.get("portion")), Number(said.get("to"))];
    order(
      "/v1/moves",
      { portion, to: target, reason: String(said.get("reason")) },
      `${portion} is to move to shard ${target}.`,
    ).then((m) => m && form.reset());
  };
  return h(
    "form",
    { class: "form", onSubmit: start },
    h(
      "label",
      { class: "field small" },
      "Portion",
      h(
        "select",
        { name: "portion" },
        owned.body.portions.map((/** @type {any} */ p) =>
          h("option", { key: p.portion, value: p.portion }, `${p.portion} (on ${p.owner})`),
        ),
      ),
    ),
    h(
      "label",
      { class: "field small" },
      "To shard",
      h(
        "select",
        { name: "to" },
        (all.body?.shards ?? []).map((/** @type {any} */ s) =>
          h("option", { key: s.shard, value: s.shard }, s.shard),
        ),
      ),
    ),
    h(
      "label",
      { class: "field grow" },
      "Reason",
      h("input", { name: "reason", maxlength: 1000, placeholder: "kept with the move", autocomplete: "off" }),
    ),
    h("button", { class: "do main", type: "submit", disabled: !!state.busy }, "Start the move"),
  );
}

/** @param {any[]} ended */
function list(ended) {
  const rows = ended.slice(0, ENDED_SHOWN).map((m) => {
    const took = m.history.at(-1).time - m.history[0].time;
    return [
      h("a", { class: "plain", href: to("tree", m.portion) }, m.portion),
      h("span", { class: "way" }, shard(m.from), "→", shard(m.to)),
      h("span", { class: `tag ${m.stage === "DONE" ? "good" : "bad"}` }, m.stage.toLowerCase()),
      day(m.history[0].time),
      span(took),
      m.proof
        ? h(
            "span",
            { title: `hash ${m.proof.hash_from} at offset ${m.proof.offset}` },
            `both held ${count(m.proof.count)}`,
          )
        : m.why || "–",
      m.reason || "–",
    ];
  });
  return table(["Portion", "From, to", "Ended as", "Planned", "#Took", "Proof, or why", "Reason"], rows, {
    keys: ended.map((m) => m.id),
  });
}
