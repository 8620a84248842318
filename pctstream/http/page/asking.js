// One request to this page's own origin; the token, where one is wanted, goes in a header.

const KEPT = "pct-token";
const PATIENCE_MS = 12000;

/** What went wrong, with the status (0: no answer). */
export class Trouble extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** @returns {string} */
export const token = () => sessionStorage.getItem(KEPT) ?? "";

/** @param {string} text kept until the tab is closed */
export function keep(text) {
  if (text) sessionStorage.setItem(KEPT, text);
  else sessionStorage.removeItem(KEPT);
}

/** @param {string} path @param {object|null} [body] a POST if there is one @returns {Promise<any>} */
export async function ask(path, body) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method: body ? "POST" : "GET",
      headers,
      body: body ? JSON.stringify(body) : undefined,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw new Trouble(0, late ? `no answer within ${PATIENCE_MS / 1000} s` : "no answer");
  }
  const said = await answer.json().catch(() => null);
  if (!answer.ok) throw new Trouble(answer.status, String(said?.detail ?? `status ${answer.status}`));
  if (said === null) throw new Trouble(answer.status, "an answer that is no JSON");
  return said;
}
