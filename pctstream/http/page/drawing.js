// A density map on a canvas: cells by how many rows they have, and the edges of regions.

/** @typedef {{x0: number, y0: number, x1: number, y1: number}} Box */
/** @typedef {{counts: number[][], x_edges: number[], y_edges: number[]}} Density */

/** @param {Element} by an element whose colours are in force @returns {number[][]} rgb of --d0 to --d5 */
export function ramp(by) {
  const probe = document.createElement("i");
  by.append(probe);
  const found = [0, 1, 2, 3, 4, 5].map((i) => {
    probe.style.color = `var(--d${i})`;
    return (getComputedStyle(probe).color.match(/[\d.]+/g) ?? ["0", "0", "0"]).slice(0, 3).map(Number);
  });
  probe.remove();
  return found;
}

/** @param {number[][]} stops @param {number} part 0 to 1 @returns {string} */
export function mixed(stops, part) {
  const at = Math.max(0, Math.min(1, part)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at));
  return `rgb(${stops[i].map((low, c) => Math.round(low + (stops[i + 1][c] - low) * (at - i))).join(" ")})`;
}

/** What has rows, with a margin; the whole where nothing has. @param {Density} d @returns {Box} */
export function extent(d) {
  let [i0, i1, j0, j1] = [Infinity, -1, Infinity, -1];
  d.counts.forEach((column, i) =>
    column.forEach((n, j) => {
      if (n) {
        i0 = Math.min(i0, i);
        i1 = Math.max(i1, i);
        j0 = Math.min(j0, j);
        j1 = Math.max(j1, j);
      }
    }),
  );
  if (i1 < 0) [i0, i1, j0, j1] = [0, d.counts.length - 1, 0, (d.counts[0]?.length ?? 1) - 1];
  const [x0, x1, y0, y1] = [d.x_edges[i0], d.x_edges[i1 + 1], d.y_edges[j0], d.y_edges[j1 + 1]];
  return {
    x0: x0 - (x1 - x0) * 0.04,
    x1: x1 + (x1 - x0) * 0.04,
    y0: y0 - (y1 - y0) * 0.04,
    y1: y1 + (y1 - y0) * 0.04,
  };
}

/** The box widened to the shape of the canvas. @param {Box} box @param {number} width @param {number} height @returns {Box} */
export function fitted(box, width, height) {
  const scale = Math.max((box.x1 - box.x0) / width, (box.y1 - box.y0) / height) || 1;
  const [cx, cy] = [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2];
  return {
    x0: cx - (scale * width) / 2,
    x1: cx + (scale * width) / 2,
    y0: cy - (scale * height) / 2,
    y1: cy + (scale * height) / 2,
  };
}

/** @param {HTMLCanvasElement} canvas @param {Density} d @param {{box: number[], colour: string, on: boolean}[]} regions @param {Box} view */
export function paint(canvas, d, regions, view) {
  const [width, height, dense] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio || 1];
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  const ink = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  ink.scale(dense, dense);
  const stops = ramp(canvas.parentElement ?? document.body);
  const most = Math.log1p(Math.max(1, ...d.counts.map((c) => Math.max(...c))));
  const x = (/** @type {number} */ v) => ((v - view.x0) / (view.x1 - view.x0)) * width;
  const y = (/** @type {number} */ v) => height - ((v - view.y0) / (view.y1 - view.y0)) * height;
  ink.fillStyle = mixed(stops, 0);
  ink.fillRect(0, 0, width, height);
  d.counts.forEach((column, i) =>
    column.forEach((n, j) => {
      if (!n) return;
      const [a, b, c, e] = [x(d.x_edges[i]), x(d.x_edges[i + 1]), y(d.y_edges[j + 1]), y(d.y_edges[j])];
      ink.fillStyle = mixed(stops, 0.12 + 0.88 * (Math.log1p(n) / most));
      ink.fillRect(Math.floor(a), Math.floor(c), Math.ceil(b) - Math.floor(a), Math.ceil(e) - Math.floor(c));
    }),
  );
  for (const {
    box: [x0, y0, x1, y1],
    colour,
    on,
  } of regions) {
    ink.strokeStyle = colour;
    ink.globalAlpha = on ? 1 : 0.55;
    ink.lineWidth = on ? 3 : 1;
    ink.strokeRect(
      Math.round(x(x0)) + 0.5,
      Math.round(y(y1)) + 0.5,
      Math.round(x(x1) - x(x0)),
      Math.round(y(y0) - y(y1)),
    );
  }
  ink.globalAlpha = 1;
}
