// Small things that every view uses. Text goes in as text: nothing here makes markup out of it.

import { Component, h } from "./vendor/preact.js";

const ICONS = {
  tree: "M4 5h16M4 12h7M14 12h6M4 19h3M10 19h3M16 19h4",
  cover:
    "M9 8.5a4.5 4.5 0 1 0 0 .01M17 15a3 3 0 1 0 0 .01M6.5 18.2a1.8 1.8 0 1 0 0 .01M18 5.5a1.4 1.4 0 1 0 0 .01",
  shards:
    "M4 6.5C4 5 7.6 4 12 4s8 1 8 2.5S16.4 9 12 9 4 8 4 6.5zM4 6.5v11C4 19 7.6 20 12 20s8-1 8-2.5v-11M4 12c0 1.5 3.6 2.5 8 2.5s8-1 8-2.5",
  moves: "M4 8h13M13 4l4 4-4 4M20 16H7M11 12l-4 4 4 4",
  map: "M9 4 3.5 6.5v13L9 17l6 2.5 5.5-2.5V4L15 6.5zM9 4v13M15 6.5v13",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M20 20l-4-4",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M20 14.5A8.3 8.3 0 0 1 9.5 4a8.3 8.3 0 1 0 10.5 10.5z",
  system: "M4 5h16v11H4zM9 20h6M12 16v4",
  warn: "M12 4 2.8 19.5h18.4zM12 10v4.5M12 17.2v.1",
  info: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M12 11v5M12 8v.1",
  good: "M4.5 12.5l5 5 10-11",
  pause: "M8 5v14M16 5v14",
  play: "M7 5l12 7-12 7z",
  stop: "M6 6l12 12M18 6L6 18",
};

/** @param {keyof typeof ICONS} name */
export const icon = (name) =>
  h("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, h("path", { d: ICONS[name] }));

/** @param {string} title @param {any} body @param {{note?: any, right?: any, class?: string, id?: string}} [more] */
export const card = (title, body, more = {}) =>
  h(
    "section",
    { class: `card ${more.class ?? ""}`, "aria-label": title },
    h(
      "header",
      null,
      h("h2", null, title),
      more.note && h("span", { class: "note" }, more.note),
      more.right && h("div", { class: "right" }, more.right),
    ),
    h("div", { class: "body" }, body),
  );

/** @param {[string, any, string?][]} pairs label, value, key @param {string} [of] what they are facts of */
export const facts = (pairs, of = "") =>
  h(
    "dl",
    { class: "facts" },
    pairs
      .filter((p) => p[1] != null)
      .map(([name, value, key]) =>
        h(
          "div",
          { key: name },
          h("dt", null, name),
          h("dd", key ? { "data-of": `${of}${key}` } : null, value),
        ),
      ),
  );

/** @param {"info"|"warn"|"tree"|"cover"|"shards"|"moves"|"map"|"search"} sign @param {string} title @param {...any} more */
export const empty = (sign, title, ...more) =>
  h("div", { class: "empty" }, icon(sign), h("strong", null, title), ...more);

export const bones = () =>
  h("div", { class: "bones", role: "status", "aria-label": "loading" }, h("span"), h("span"), h("span"));

/** What stands where an answer is missing; null if there is one. @param {import("./live.js").Answer} answer */
export function lacking(answer) {
  if (answer.body) return null;
  if (!answer.error || answer.error.status === 0 || answer.error.status === 401) return bones();
  return empty("warn", "This could not be answered", h("p", null, answer.error.message));
}

/** @param {number|null|undefined} number */
export const shard = (number) =>
  number == null
    ? h("span", { class: "quiet" }, "–")
    : h("span", { class: "chip", style: { "--of": `var(--s${number % 8})` } }, `shard ${number}`);

/** @param {string[]} heads those that begin with # are numbers @param {any[][]} rows @param {{on?: number, keys?: string[]}} [more] */
export const table = (heads, rows, more = {}) =>
  h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "table" },
    h(
      "table",
      null,
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          heads.map((t) => h("th", { class: t[0] === "#" ? "n" : "", scope: "col" }, t.replace("#", ""))),
        ),
      ),
      h(
        "tbody",
        null,
        rows.map((row, i) =>
          h(
            "tr",
            { key: more.keys?.[i] ?? i, class: more.on === i ? "on" : "" },
            row.map((cell, j) => h("td", { class: heads[j][0] === "#" ? "n" : "" }, cell)),
          ),
        ),
      ),
    ),
  );

/** @param {string} label @param {[any, string][]} options @param {any} now @param {(value: any) => void} pick */
export const choice = (label, options, now, pick) =>
  h(
    "div",
    { class: "choice", role: "group", "aria-label": label },
    options.map(([value, text]) =>
      h(
        "button",
        { key: text, type: "button", "aria-pressed": String(value === now), onClick: () => pick(value) },
        text,
      ),
    ),
  );

/** Draws its child with the width it has: `h(Sized, {draw: (width) => ..})`. */
export class Sized extends Component {
  /** @param {any} props */
  constructor(props) {
    super(props);
    this.state = { width: 0 };
  }

  componentDidMount() {
    const box = /** @type {any} */ (this).base;
    this.watch = new ResizeObserver(([entry]) =>
      this.setState({ width: Math.floor(entry.contentRect.width) }),
    );
    this.watch.observe(box);
    this.setState({ width: Math.floor(box.getBoundingClientRect().width) });
  }

  componentWillUnmount() {
    this.watch?.disconnect();
  }

  render() {
    return h("div", { class: this.props.class }, this.state.width ? this.props.draw(this.state.width) : null);
  }
}
