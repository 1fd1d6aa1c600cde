// The table of breaths: the twin of the timeline in words, and the editor of the chosen breath.

import { classOf } from "./colours.js";
import { $, h, icon, span } from "./dom.js";
import { abnormalProbability } from "./threshold.js";

export const STATUS = { unseen: "To check", accepted: "Accepted", changed: "Changed", added: "Added" };

/** Probabilities as one bar, widest first read by a screen reader. */
function bar(cycle, classes) {
  const sorted = classes.map((name) => [name, cycle.probabilities[name]]).sort((a, b) => b[1] - a[1]);
  const words = sorted.map(([name, p]) => `${name} ${p.toFixed(2)}`).join(", ");
  const box = h("span", { class: "bar", role: "img", "aria-label": words, title: words });
  classes.forEach((name, i) => {
    const part = h("span", { class: `part ${classOf(i)}` });
    part.style.width = `${100 * cycle.probabilities[name]}%`;
    box.append(part);
  });
  return box;
}

function row(item, number, classes, chosen) {
  const { breath, cycle, flagged } = item;
  const words = `Play breath ${number}, ${span(breath)}, ${breath.label}, ${STATUS[breath.status]}`;
  const play = h("button", { type: "button", class: "button play-breath", "aria-label": words, tabindex: chosen ? 0 : -1 }, icon("play"), String(number));
  const label = h("span", { class: `label ${classOf(item.index)}` }, h("span", { class: "swatch", "aria-hidden": "true" }), breath.label);
  const p = cycle ? cycle.probabilities[breath.label] : undefined;
  const sum = cycle && breath.status === "unseen" ? ` ${abnormalProbability(cycle, classes).toFixed(2)}` : "";
  const flag = flagged || sum
    ? h("span", { class: flagged ? "flag on" : "flag", text: `abnormal${sum}`, title: "Probability of any abnormal class; marked from the threshold on" })
    : null;
  const probabilities = cycle
    ? [bar(cycle, classes), h("span", { class: "number", text: p === undefined ? "" : p.toFixed(2) })]
    : [h("span", { class: "hint", text: "not predicted" })];
  return h("tr", { "aria-current": chosen ? "true" : null, class: `status-${breath.status}` },
    h("th", { scope: "row" }, play),
    h("td", { class: "number col-time", text: span(breath) }),
    h("td", {}, h("div", { class: "label-cell" }, label, flag, h("span", { class: "number hint time-below", text: span(breath) }))),
    h("td", { class: "col-probability" }, h("div", { class: "probability" }, ...probabilities)),
    h("td", { class: "number col-quality", text: cycle?.quality === null || cycle?.quality === undefined ? "–" : cycle.quality.toFixed(2) }),
    h("td", {}, h("span", { class: `status is-${breath.status}`, text: STATUS[breath.status] })));
}

/** Brings the table up to `shown`; a row that is as it was stays, and the focus stays on its row number. */
export class Table {
  #keys = [];

  constructor(classes) {
    this.body = $("cycles").tBodies[0];
    this.classes = classes;
  }

  render(shown, chosen) {
    const focused = this.body.contains(document.activeElement);
    shown.forEach((item, i) => {
      const key = [item.breath, item.flagged, i === chosen];
      if (this.#keys[i]?.every((part, k) => part === key[k])) return;
      const fresh = row(item, i + 1, this.classes, i === chosen);
      if (this.body.rows[i]) this.body.rows[i].replaceWith(fresh);
      else this.body.append(fresh);
      this.#keys[i] = key;
    });
    while (this.body.rows.length > shown.length) this.body.rows[shown.length].remove();
    this.#keys.length = shown.length;
    $("cycles").hidden = shown.length === 0;
    $("no-breaths").hidden = shown.length > 0;
    if (focused) this.focus(chosen);
  }

  focus(index) {
    this.body.rows[index]?.querySelector("button").focus({ preventScroll: true });
    this.reveal(index);
  }

  reveal(index) {
    const line = this.body.rows[index];
    if (this.body.contains(document.activeElement)) line?.scrollIntoView({ block: "nearest" });
  }

  /** The number of the row that holds an element; -1 for none. */
  indexOf(element) {
    return [...this.body.rows].indexOf(element.closest("tr"));
  }
}

/** The chosen breath: its class, edges and what can be done with it. `act` has label, edge, accept, play and remove. */
export class Editor {
  #index = -2;

  constructor(classes, act) {
    this.classes = classes;
    this.act = act;
    this.box = $("editor");
    this.title = h("h2", { class: "field-title" });
    this.empty = h("p", { class: "hint", text: "Choose a breath in the timeline or the table." });
    this.buttons = classes.map((name, i) =>
      h("button", { type: "button", class: `button choice ${classOf(i)}`, "aria-pressed": "false", onclick: () => act.label(name) },
        h("span", { class: "swatch", "aria-hidden": "true" }), name,
        i < 9 ? h("kbd", { text: String(i + 1), "aria-hidden": "true" }) : null));
    const edge = (side) => h("input", { type: "number", step: 0.01, min: 0, id: `edge-${side}`, onchange: (event) => {
      if (event.target.value !== "") act.edge(side, Number(event.target.value));
    } });
    this.edges = { start_s: edge("start_s"), end_s: edge("end_s") };
    const field = (text, side) => h("label", { class: "edge", for: `edge-${side}` }, h("span", { text }), this.edges[side]);
    const button = (name, text, run, extra = "") => h("button", { type: "button", class: `button ${extra}`, onclick: run }, icon(name), text);
    this.accept = button("check", "Accept", act.accept, "primary");
    this.accept.id = "accept";
    this.fields = h("div", { class: "fields" },
      h("div", { class: "choices", role: "group", "aria-label": "Label" }, ...this.buttons),
      h("div", { class: "edges" }, field("Start, s", "start_s"), field("End, s", "end_s")),
      h("div", { class: "row" }, this.accept, button("play", "Play", act.play), button("bin", "Delete", act.remove)));
    this.box.replaceChildren(this.title, this.empty, this.fields);
  }

  render(item, index) {
    this.empty.hidden = Boolean(item);
    this.fields.hidden = !item;
    this.title.textContent = item ? `Breath ${index + 1}` : "No breath chosen";
    if (!item) return;
    const { breath } = item;
    this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(this.classes[i] === breath.label)));
    for (const [side, input] of Object.entries(this.edges)) {
      if (document.activeElement !== input || this.#index !== index) input.value = breath[side].toFixed(2);
    }
    this.#index = index;
    this.accept.disabled = breath.status !== "unseen";
  }
}
