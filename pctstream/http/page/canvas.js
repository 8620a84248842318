// The density map to zoom and to walk through.

import { extent, fitted, paint } from "./drawing.js";
import { set } from "./state.js";
import { Component, h } from "./vendor/preact.js";
import { count, figure } from "./words.js";

const STEP = 1.4;

/** Keeps what part is seen; draws when anything changes. */
export class Canvas extends Component {
  /** @param {any} props */
  constructor(props) {
    super(props);
    /** @type {import("./drawing.js").Box|null} what is seen; null: all */
    this.view = null;
    /** @type {{fx: number, fy: number}|null} where the pointer was when it was pressed or last moved */
    this.held = null;
    /** @type {any} */
    this.canvas = null;
    this.again = () => this.paint();
  }

  componentDidMount() {
    this.watch = new ResizeObserver(() => this.paint());
    this.watch.observe(this.canvas);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", this.again);
    this.canvas.addEventListener(
      "wheel",
      (/** @type {WheelEvent} */ e) => {
        if (!e.ctrlKey && !e.metaKey) return;
        e.preventDefault();
        this.zoom(
          e.deltaY < 0 ? 1 / STEP : STEP,
          e.offsetX / this.canvas.clientWidth,
          1 - e.offsetY / this.canvas.clientHeight,
        );
      },
      { passive: false },
    );
  }

  componentDidUpdate() {
    this.paint();
  }

  componentWillUnmount() {
    this.watch?.disconnect();
    this.dark?.removeEventListener("change", this.again);
  }

  /** @returns {import("./drawing.js").Box} */
  box() {
    const { clientWidth: w, clientHeight: t } = this.canvas;
    return fitted(this.view ?? extent(this.props.density), w, t);
  }

  paint() {
    if (!this.canvas?.clientWidth) return;
    const style = getComputedStyle(document.documentElement);
    const probe = document.createElement("i");
    this.canvas.parentElement.append(probe);
    const colour = (/** @type {number} */ s) => {
      probe.style.color = `var(--s${s % 8})`;
      return getComputedStyle(probe).color || style.color;
    };
    const regions = this.props.regions.map((/** @type {any} */ r) => ({
      box: r.box,
      colour: colour(r.shard),
      on: r.id === this.props.on,
    }));
    probe.remove();
    paint(
      this.canvas,
      this.props.density,
      regions.sort((/** @type {any} */ a, /** @type {any} */ b) => Number(a.on) - Number(b.on)),
      this.box(),
    );
  }

  /** @param {number} by @param {number} [fx] @param {number} [fy] where the point that stays is, 0 to 1 */
  zoom(by, fx = 0.5, fy = 0.5) {
    const b = this.box();
    const [x, y] = [b.x0 + (b.x1 - b.x0) * fx, b.y0 + (b.y1 - b.y0) * fy];
    this.view = {
      x0: x - (x - b.x0) * by,
      x1: x + (b.x1 - x) * by,
      y0: y - (y - b.y0) * by,
      y1: y + (b.y1 - y) * by,
    };
    this.paint();
  }

  /** @param {number} dx @param {number} dy parts of what is seen */
  shift(dx, dy) {
    const b = this.box();
    const [x, y] = [dx * (b.x1 - b.x0), dy * (b.y1 - b.y0)];
    this.view = { x0: b.x0 + x, x1: b.x1 + x, y0: b.y0 + y, y1: b.y1 + y };
    this.paint();
  }

  whole() {
    this.view = null;
    this.paint();
  }

  /** @param {PointerEvent} e */
  over(e) {
    const b = this.box();
    const [fx, fy] = [e.offsetX / this.canvas.clientWidth, 1 - e.offsetY / this.canvas.clientHeight];
    if (this.held) {
      this.shift(this.held.fx - fx, this.held.fy - fy);
      this.held = { fx, fy };
      return;
    }
    const d = this.props.density;
    const i = d.x_edges.findLastIndex((/** @type {number} */ v) => v <= b.x0 + fx * (b.x1 - b.x0));
    const j = d.y_edges.findLastIndex((/** @type {number} */ v) => v <= b.y0 + fy * (b.y1 - b.y0));
    const n = d.counts[i]?.[j];
    set({
      cell:
        n === undefined
          ? "outside the map"
          : `${count(n)} rows in x ${figure(d.x_edges[i])} to ${figure(d.x_edges[i + 1])}, y ${figure(d.y_edges[j])} to ${figure(d.y_edges[j + 1])}`,
    });
  }

  /** @param {KeyboardEvent} e */
  key(e) {
    /** @type {Record<string, () => void>} */
    const acts = {
      "+": () => this.zoom(1 / STEP),
      "=": () => this.zoom(1 / STEP),
      "-": () => this.zoom(STEP),
      0: () => this.whole(),
      ArrowLeft: () => this.shift(-0.1, 0),
      ArrowRight: () => this.shift(0.1, 0),
      ArrowUp: () => this.shift(0, 0.1),
      ArrowDown: () => this.shift(0, -0.1),
    };
    if (!acts[e.key]) return;
    e.preventDefault();
    acts[e.key]();
  }

  render() {
    const d = this.props.density;
    const hold = (/** @type {PointerEvent} */ e) => {
      this.held = { fx: e.offsetX / this.canvas.clientWidth, fy: 1 - e.offsetY / this.canvas.clientHeight };
      this.canvas.setPointerCapture(e.pointerId);
    };
    const button = (/** @type {string} */ sign, /** @type {string} */ what, /** @type {() => void} */ act) =>
      h("button", { class: "do", type: "button", "aria-label": what, title: what, onClick: act }, sign);
    return h(
      "div",
      { class: "map" },
      h("canvas", {
        ref: (/** @type {any} */ c) => {
          this.canvas = c;
        },
        tabindex: 0,
        role: "img",
        "aria-label": `Density map of ${count(d.rows)} rows; the regions with the most rows are in the table`,
        onKeyDown: (/** @type {any} */ e) => this.key(e),
        onPointerMove: (/** @type {any} */ e) => this.over(e),
        onPointerDown: hold,
        onPointerUp: () => {
          this.held = null;
        },
        onPointerLeave: () => {
          if (!this.held) {
            set({ cell: "" });
          }
        },
      }),
      h(
        "div",
        { class: "zoom" },
        button("+", "Zoom in", () => this.zoom(1 / STEP)),
        button("−", "Zoom out", () => this.zoom(STEP)),
        button("▢", "Show all", () => this.whole()),
      ),
    );
  }
}
