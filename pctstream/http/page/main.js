// The page: a frame, a view, and what keeps both up to date.

import { forget, plan } from "./live.js";
import { frame } from "./frame.js";
import { drawWith, redraw } from "./state.js";
import { h, render } from "./vendor/preact.js";

const root = /** @type {HTMLElement} */ (document.getElementById("page"));
root.replaceChildren();

drawWith(() => {
  forget();
  render(h(frame, null), root);
  plan();
});
setInterval(() => {
  if (!document.hidden) redraw();
}, 1000);
