// What came, what is forecast with its band, and what can be carried: rows a second over time.

import { h } from "./vendor/preact.js";
import { clock, rate } from "./words.js";

const W = 400;
const H = 100;

/** @typedef {{t: number, rows_s: number, low?: number, high?: number}} Point */

/** @param {Point[]} past @param {Point[]} ahead @param {number|null} full what is a load of 100 % @param {string} what */
export function chart(past, ahead, full, what) {
  if (past.length < 2) return h("p", { class: "quiet" }, "Rates are shown once two windows are over.");
  const all = [...past, ...ahead];
  const [from, to] = [all[0].t, all[all.length - 1].t];
  const came = Math.max(...all.map((p) => Math.max(p.rows_s, p.high ?? 0)), 1e-9);
  // the line of what can be carried is shown where that does not flatten everything else
  const shown = full != null && full <= 3 * came ? full : null;
  const top = 1.08 * Math.max(came, shown ?? 0);
  const x = (/** @type {number} */ t) => (((t - from) / (to - from || 1)) * W).toFixed(1);
  const y = (/** @type {number} */ v) => (H - (Math.max(0, v) / top) * H).toFixed(1);
  const path = (/** @type {Point[]} */ ps) =>
    ps.map((p, i) => `${i ? "L" : "M"}${x(p.t)} ${y(p.rows_s)}`).join("");
  const last = past[past.length - 1];
  const joined = [{ ...last, low: last.rows_s, high: last.rows_s }, ...ahead.filter((p) => p.t > last.t)];
  const band =
    joined.map((p, i) => `${i ? "L" : "M"}${x(p.t)} ${y(p.high ?? p.rows_s)}`).join("") +
    [...joined]
      .reverse()
      .map((p) => `L${x(p.t)} ${y(p.low ?? p.rows_s)}`)
      .join("");
  const end = joined[joined.length - 1];
  const words =
    `${what}: ${rate(last.rows_s)} rows/s now` +
    (ahead.length
      ? `, ${rate(end.rows_s)} expected at ${clock(end.t)}, between ${rate(end.low)} and ${rate(end.high)}`
      : ", no forecast yet");
  const at = (/** @type {number} */ v) => `${((1 - v / top) * 92).toFixed(0)}px`;
  return h(
    "figure",
    { class: "chart" },
    h(
      "svg",
      { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", "aria-label": words },
      h("line", { class: "foot", x1: 0, x2: W, y1: H, y2: H }),
      ahead.length > 0 && h("path", { class: "band", d: `${band}Z` }),
      h("line", { class: "now", x1: x(last.t), x2: x(last.t), y1: 0, y2: H }),
      shown != null && h("line", { class: "full", x1: 0, x2: W, y1: y(shown), y2: y(shown) }),
      h("path", { class: "past", d: path(past) }),
      ahead.length > 0 && h("path", { class: "ahead", d: path(joined) }),
    ),
    h("span", { class: "y", style: { top: at(came) } }, `${rate(came)} rows/s`),
    shown != null && h("span", { class: "fullsay", style: { top: at(shown) } }, `carries ${rate(shown)}`),
    h("span", { class: "x", style: { left: 0 } }, clock(from)),
    h(
      "span",
      { class: "x", style: { left: `${(Number(x(last.t)) / W) * 100}%`, transform: "translateX(-102%)" } },
      clock(last.t),
    ),
    ahead.length > 0 && h("span", { class: "x", style: { right: 0 } }, "forecast"),
  );
}
