// Asks for the token, where one is wanted.

import { keep } from "./asking.js";
import { hurry } from "./live.js";
import { set, state } from "./state.js";
import { h } from "./vendor/preact.js";

/** @param {HTMLDialogElement|null} box */
const opened = (box) => {
  if (box && !box.open) box.showModal();
};

export const lock = () =>
  h(
    "dialog",
    {
      ref: opened,
      "aria-labelledby": "ask-token",
      onCancel: (/** @type {Event} */ e) => e.preventDefault(),
    },
    asked(),
  );

function asked() {
  const enter = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const field = /** @type {HTMLInputElement} */ (
      /** @type {HTMLFormElement} */ (event.currentTarget).elements.namedItem("token")
    );
    keep(field.value.trim());
    set({ locked: false, tried: true });
    hurry("/v1/tree", "/v1/shards", "/v1/moves");
  };
  return h(
    "form",
    { onSubmit: enter },
    h("h2", { id: "ask-token" }, "This tree wants a token"),
    h(
      "p",
      { class: "quiet" },
      "It is the content of the file that ",
      h("code", null, "http.token_file"),
      " names. It stays in this tab and goes to ",
      location.host,
      " only, in a header.",
    ),
    state.tried && h("p", { class: "error", role: "alert" }, "That token was not accepted."),
    h(
      "label",
      { class: "field" },
      "Token",
      h("input", { name: "token", type: "password", autocomplete: "off", required: true, autofocus: true }),
    ),
    h("button", { class: "do main", type: "submit" }, "Open"),
  );
}
