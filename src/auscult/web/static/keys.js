// The keys of the review. They work while the focus is inside a recording, and not where something is typed.

import { $, h } from "./dom.js";

export const EDGE_STEP_S = 0.05;

const TYPING = new Set(["text", "number", "search"]);
const typing = (target) =>
  target.tagName === "TEXTAREA" || target.tagName === "SELECT" || (target.tagName === "INPUT" && TYPING.has(target.type));

/** What one key does; `does` is the recording screen's list of actions. */
function action(event, does, classes) {
  const { key } = event;
  if (event.ctrlKey || event.metaKey) {
    if (key.toLowerCase() === "z") return event.shiftKey ? does.redo : does.undo;
    return key.toLowerCase() === "y" ? does.redo : null;
  }
  if (event.altKey) return null;
  const number = Number(key);
  if (number >= 1 && number <= classes.length) return () => does.label(classes[number - 1]);
  const plain = {
    a: does.accept, n: does.add, h: does.heat, s: does.slow, Delete: does.remove, Backspace: does.remove, Escape: does.escape,
    q: () => does.edge("start_s", -EDGE_STEP_S), w: () => does.edge("start_s", EDGE_STEP_S),
    o: () => does.edge("end_s", -EDGE_STEP_S), p: () => does.edge("end_s", EDGE_STEP_S),
    "+": does.zoomIn, "=": does.zoomIn, "-": does.zoomOut, 0: does.fit,
  };
  return plain[key] ?? null;
}

/** Arrows, Enter and space where they do not belong to a control. */
function moving(event, does) {
  const { target } = event;
  const onSlider = target.tagName === "INPUT";
  const inTable = target.closest("tbody") !== null;
  if (onSlider) return null;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    const step = event.key === "ArrowLeft" ? -1 : 1;
    return event.shiftKey ? () => does.scroll(step) : () => does.step(step);
  }
  if (inTable && (event.key === "ArrowUp" || event.key === "ArrowDown")) return () => does.step(event.key === "ArrowUp" ? -1 : 1);
  if (inTable && event.key === "Home") return () => does.first();
  if (inTable && event.key === "End") return () => does.last();
  if (target.closest("button, a, summary")) return null;
  if (event.key === "Enter") return does.hear;
  return event.key === " " ? does.play : null;
}

export function listen(place, does, classes) {
  place.addEventListener("keydown", (event) => {
    if (typing(event.target)) return;
    const run = moving(event, does) ?? action(event, does, classes);
    if (!run || event.defaultPrevented) return;
    event.preventDefault();
    run();
  });
}

export function explain(classes) {
  const lines = [
    [["←", "→"], "breath before, after (also ↑ ↓ in the table)"], [["Enter"], "play the breath"], [["Space"], "play or pause the recording"],
    [[`1 … ${Math.min(9, classes.length)}`], `label: ${classes.slice(0, 9).join(", ")}`], [["A"], "accept and go on to the next one to check"],
    [["Q", "W"], "start earlier, later"], [["O", "P"], "end earlier, later"], [["N"], "new breath at the playhead"], [["Del"], "delete the breath"],
    [["Ctrl Z"], "undo; with shift, redo"], [["S"], "half speed"], [["H"], "saliency"], [["+", "−", "0"], "zoom in, out, whole recording"],
    [["Shift ←", "Shift →"], "scroll"], [["Ctrl wheel"], "zoom at the pointer"], [["Drag"], "an edge moves it; on an empty place adds a breath; inside a breath scrolls"],
  ];
  $("keys").replaceChildren(...lines.map(([keys, text]) =>
    h("div", {}, h("dt", {}, ...keys.map((key) => h("kbd", { text: key }))), h("dd", { text }))));
}
