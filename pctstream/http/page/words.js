// Numbers as people read them, always with their unit.

const whole = new Intl.NumberFormat("en");
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** @param {number|null|undefined} n @returns {string} every digit: 36,011 */
export const count = (n) => (n == null ? "–" : whole.format(Math.round(n)));

/** @param {number|null|undefined} n @returns {string} four digits that count: 3.142, 1,234 */
export function figure(n) {
  if (n == null || !Number.isFinite(n)) return "–";
  if (n !== 0 && (Math.abs(n) < 1e-3 || Math.abs(n) >= 1e7)) return n.toExponential(2);
  return new Intl.NumberFormat("en", { maximumSignificantDigits: 4 }).format(n);
}

/** A value of a payload as it was written, floats to nine digits. @param {any} value @returns {string} */
export function written(value) {
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(9)));
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** @param {number|null|undefined} n @returns {string} rows a second: 712, 31.4, 0.2 */
export function rate(n) {
  if (n == null) return "–";
  return new Intl.NumberFormat("en", { maximumFractionDigits: n >= 100 ? 0 : 1 }).format(n);
}

/** Rows a second of these portions; null without any. A shard's own rate jumps when a portion moves.
 * @param {any[]|undefined} portions @returns {number|null} */
export const arriving = (portions) => (portions?.length ? portions.reduce((n, p) => n + p.rate, 0) : null);

/** @param {number|null|undefined} part @returns {string} 4.1 % */
export function percent(part) {
  if (part == null || !Number.isFinite(part)) return "–";
  if (part > 0 && part < 0.001) return "<0.1 %";
  return `${new Intl.NumberFormat("en", { maximumFractionDigits: part < 0.1 ? 1 : 0 }).format(part * 100)} %`;
}

/** @param {number|null|undefined} n @returns {string} 12.3 MiB */
export function bytes(n) {
  if (n == null) return "–";
  let unit = 0;
  let left = n;
  while (left >= 1024 && unit < UNITS.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${new Intl.NumberFormat("en", { maximumFractionDigits: unit && left < 100 ? 1 : 0 }).format(left)} ${UNITS[unit]}`;
}

/** @param {number|null|undefined} s @returns {string} a length of time: 4 s, 3 min, 2 h */
export function span(s) {
  if (s == null) return "–";
  if (s < 10) return `${(Math.round(s * 10) / 10).toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}

/** @param {number|null|undefined} t seconds since the epoch @returns {string} the clock here: 14:03:22 */
export const clock = (t) => (t == null ? "–" : new Date(t * 1000).toLocaleTimeString("en-GB"));

/** @param {number|null|undefined} t @returns {string} 2026-11-22 14:03:22 */
export const day = (t) => (t == null ? "–" : `${new Date(t * 1000).toLocaleDateString("sv")} ${clock(t)}`);

/** @param {string} name of a node @returns {string|null} the node above it */
export function above(name) {
  const cut = name.lastIndexOf(",");
  return cut > 0 ? name.slice(0, cut) : name === "N0" ? null : "N0";
}

/** @param {string} name @returns {string[]} N0, N0,3, N0,3,1 */
export function line(name) {
  const steps = name.split(",");
  return steps.map((_, i) => steps.slice(0, i + 1).join(","));
}
