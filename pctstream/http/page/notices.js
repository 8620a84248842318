// What a person should know whatever is on the screen: who does not answer, what stands still or is broken.

import { icon } from "./parts.js";
import { state, unsay } from "./state.js";
import { h } from "./vendor/preact.js";
import { clock, span } from "./words.js";

const SILENT_S = 10;

/** @param {import("./live.js").Answer} known @param {import("./live.js").Answer} all */
export function notices(known, all) {
  const out = [];
  const shown = (/** @type {any} */ key, /** @type {string} */ kind, /** @type {any[]} */ ...text) =>
    out.push(
      h(
        "div",
        { key, class: `notice ${kind}` },
        icon(kind === "good" ? "good" : "warn"),
        h("div", null, ...text),
      ),
    );
  const others = [...new Set((all.body?.shards ?? []).map((/** @type {any} */ s) => s.url))].filter(
    (u) => safe(u) && u !== location.origin,
  );
  if (state.link.down && state.link.last) {
    shown(
      "down",
      "bad",
      h("strong", null, `The worker at ${location.host} does not answer. `),
      `What you see is as of ${clock(known.body?.as_of.time)}`,
      ticking(`, ${span((performance.now() - state.link.last) / 1000)} ago`),
      ". ",
      others.length > 0 && [
        "Any worker shows the whole tree: ",
        others.map((u, i) => [
          i ? ", " : "",
          h("a", { href: `${u}/${location.hash}`, rel: "noreferrer" }, new URL(u).host),
        ]),
      ],
    );
  } else if (state.link.down)
    shown("down", "bad", h("strong", null, `The worker at ${location.host} does not answer.`));
  if (known.error && known.error.status > 0 && known.error.status !== 401)
    shown("tree", "bad", known.error.message);
  const now = all.body?.as_of.time ?? 0;
  const quiet = (all.body?.shards ?? []).filter((/** @type {any} */ s) => now - s.time > SILENT_S);
  for (const worker of new Set(quiet.map((/** @type {any} */ s) => s.worker))) {
    const its = quiet.filter((/** @type {any} */ s) => s.worker === worker);
    shown(
      `quiet ${worker}`,
      "warn",
      h("strong", null, `${worker} is silent. `),
      `No word of shards ${its.map((/** @type {any} */ s) => s.shard).join(", ")}`,
      ticking(` for ${span(now - Math.max(...its.map((/** @type {any} */ s) => s.time)))}`),
      ": what is shown of them is how it was.",
    );
  }
  for (const one of known.body?.stalled ?? [])
    shown(
      `stalled ${one.node} ${one.shard}`,
      "warn",
      h("strong", null, `${one.node} stands still `),
      `on shard ${one.shard}, ${one.worker}: ${one.why}`,
    );
  for (const s of all.body?.shards ?? [])
    for (const i of s.inputs)
      if (i.error)
        shown(
          `broken ${i.topic} ${i.partition}`,
          "bad",
          h("strong", null, `${i.topic}/${i.partition} is broken: `),
          i.error,
        );
  for (const s of state.said)
    out.push(
      h(
        "div",
        { key: s.id, class: `notice ${s.kind}` },
        icon(s.kind === "good" ? "good" : "warn"),
        h("div", null, s.text),
        h("button", { type: "button", onClick: () => unsay(s.id) }, "close"),
      ),
    );
  return out;
}

/** What changes every second is not read out every second. @param {string} text */
const ticking = (text) => h("span", { "aria-hidden": "true" }, text);

/** @param {any} url */
const safe = (url) => {
  try {
    return ["http:", "https:"].includes(new URL(url).protocol);
  } catch {
    return false;
  }
};
