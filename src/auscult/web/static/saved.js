// Whether the review is stored: a word beside the table, and a question when two pages changed it.

import { $, h, toast } from "./dom.js";

const WORDS = { saved: "Saved", saving: "Saving…", unsaved: "Saving…", conflict: "Not saved" };

/** `settled` is called after a conflict has ended. */
export function showSaved(review, settled) {
  const { state } = review;
  const text = state === "offline" ? `Not saved: ${review.message}` : WORDS[state];
  if ($("saved").textContent !== text) $("saved").textContent = text;
  $("saved").className = `saved ${state}`;
  if (state !== "conflict") return $("conflict").replaceChildren();
  const end = async (mine) => {
    try {
      await review.settle(mine);
      settled();
    } catch (error) {
      toast(error.message);
    }
  };
  $("conflict").replaceChildren(
    h("div", { class: "alert", role: "alert" },
      h("div", {}, h("strong", { text: "This review was changed in another tab." }),
        h("p", { text: "Your last changes are not stored. Which version should stay?" })),
      h("div", { class: "row" },
        h("button", { type: "button", class: "button small", text: "Load the other", onclick: () => end(false) }),
        h("button", { type: "button", class: "button small", text: "Keep mine", onclick: () => end(true) }))));
}
