// Asks again what is on the screen, and nothing else. Never two rounds at once; a path not sooner than its
// interval after its last answer, and later where answers take long; nothing while the tab is hidden; ever
// more slowly while the worker does not answer.

import { ask, token } from "./asking.js";
import { redraw, set, state } from "./state.js";

const LEAST_MS = 2000;
const SHARE = 4;
const BACK_OFF_MS = [1000, 2000, 4000, 8000, 15000];
const KEPT = 60;
/** What is not there will hardly be there in two seconds. */
const ABSENT_MS = 10000;

/** @typedef {{body: any, error: {status: number, message: string}|null, at: number}} Answer */

/** @type {Map<string, number>} path -> ms */
const needs = new Map();
/** @type {Map<string, Answer>} */
const answers = new Map();
/** @type {Map<string, number>} */
const due = new Map();
/** @type {ReturnType<typeof setTimeout>|undefined} */
let timer;
let asking = false;

/** @type {Answer} */
const NOTHING = { body: null, error: null, at: 0 };

/** What is known of a path; while it is drawn it is kept up to date.
 * @param {string} path @param {number} [seconds] between two questions @returns {Answer} */
export function live(path, seconds = 2) {
  needs.set(path, Math.min(needs.get(path) ?? Infinity, Math.max(LEAST_MS, seconds * 1000)));
  return answers.get(path) ?? NOTHING;
}

/** Before everything is drawn again. */
export function forget() {
  needs.clear();
}

/** Ask for a path again at once. @param {...string} paths */
export function hurry(...paths) {
  for (const path of paths) due.delete(path);
  plan();
}

/** When the next question is due. */
export function plan() {
  clearTimeout(timer);
  if (document.hidden || asking || state.locked || !needs.size) return;
  const now = performance.now();
  const next = Math.min(...[...needs.keys()].map((path) => due.get(path) ?? 0));
  timer = setTimeout(round, Math.max(0, next - now, state.link.again - now));
}

async function round() {
  const now = performance.now();
  const wanted = [...needs.keys()].filter((path) => (due.get(path) ?? 0) <= now + 50);
  asking = true;
  await Promise.all(wanted.map(one));
  asking = false;
  for (const path of answers.keys()) if (answers.size > KEPT && !needs.has(path)) answers.delete(path);
  redraw();
  plan();
}

/** @param {string} path */
async function one(path) {
  const begun = performance.now();
  const before = answers.get(path) ?? NOTHING;
  const shown = token();
  try {
    const body = await ask(path);
    answers.set(path, { body, error: null, at: performance.now() });
    set({ link: { down: false, tries: 0, last: performance.now(), again: 0 } });
  } catch (error) {
    const { status = -1, message } = /** @type {any} */ (error);
    if (status === 401 && shown !== token()) return; // another one was entered meanwhile
    answers.set(path, { ...before, error: { status, message } });
    if (status === 401) set({ locked: true });
    else if (status === 0) missed();
    else set({ link: { ...state.link, down: false, tries: 0, last: performance.now(), again: 0 } });
  }
  const took = performance.now() - begun;
  const absent = answers.get(path)?.error?.status === 404 ? ABSENT_MS : 0;
  due.set(path, performance.now() + Math.max(needs.get(path) ?? LEAST_MS, SHARE * took, absent));
}

function missed() {
  const tries =
    state.link.down && performance.now() < state.link.again ? state.link.tries : state.link.tries + 1;
  const wait = BACK_OFF_MS[Math.min(tries, BACK_OFF_MS.length) - 1];
  set({ link: { ...state.link, down: true, tries, again: performance.now() + wait } });
}

document.addEventListener("visibilitychange", () => {
  redraw();
  plan();
});
