// What the page knows, and when it is drawn again.

/** Where the address says we are: "#/tree/N0,3" is the view "tree" of "N0,3". */
function place() {
  const [view = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  let of = rest.join("/");
  try {
    of = decodeURIComponent(of);
  } catch {
    of = "";
  }
  return { view: view || "tree", of };
}

/** @type {Record<string, any>} */
export const state = {
  ...place(),
  link: { down: false, tries: 0, last: 0, again: 0 },
  said: [],
  locked: false,
};

/** @type {() => void} */
let draw = () => {};
let waiting = false;

/** @param {() => void} act what draws the page */
export function drawWith(act) {
  draw = act;
  redraw();
}

/** Draw soon, once however often it is asked for. */
export function redraw() {
  if (waiting) return;
  waiting = true;
  queueMicrotask(() => {
    waiting = false;
    draw();
  });
}

/** @param {Record<string, any>} some */
export function set(some) {
  Object.assign(state, some);
  redraw();
}

/** @param {string} view @param {string} [of] @returns {string} an address in this page */
export const to = (view, of = "") => `#/${view}${of ? `/${encodeURIComponent(of)}` : ""}`;

/** Known at once: `hashchange` comes later, and a key may come before it.
 * @param {string} view @param {string} [of] */
export function go(view, of = "") {
  location.hash = to(view, of).slice(1);
  set(place());
}

addEventListener("hashchange", () => set(place()));

let serial = 0;

/** Say something that passes. @param {"good"|"bad"|"warn"} kind @param {string} text */
export function say(kind, text) {
  const id = (serial += 1);
  set({ said: [...state.said.slice(-2), { id, kind, text }] });
  if (kind === "good") setTimeout(() => unsay(id), 6000);
}

/** @param {number} id */
export function unsay(id) {
  set({ said: state.said.filter((/** @type {any} */ s) => s.id !== id) });
}
