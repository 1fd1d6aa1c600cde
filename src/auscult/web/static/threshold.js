// The threshold on P(abnormal): which breaths count as abnormal, and what that choice was worth on validation patients.

import { $, h } from "./dom.js";

const percent = (part) => `${(100 * part).toFixed(0)} %`;
export const abnormalProbability = (cycle, classes) => 1 - cycle.probabilities[classes[0]];

/** Number of the abnormal class that is the most probable one; -1 without probabilities. */
export function mostLikelyAbnormal(cycle, classes) {
  if (!cycle || classes.length < 2) return -1;
  return classes.reduce((best, name, i) => (i > 1 && cycle.probabilities[name] > cycle.probabilities[classes[best]] ? i : best), 1);
}

export class Threshold extends EventTarget {
  #points;
  #at;

  constructor(info) {
    super();
    this.classes = info.model.classes;
    this.#points = [...info.operating_points].sort((a, b) => a.threshold - b.threshold);
    this.chosen = info.threshold;
    this.#at = this.#nearest(info.threshold ?? 0.5);
    this.#build();
  }

  get value() {
    return this.#points.length ? this.#points[this.#at].threshold : this.chosen;
  }

  #nearest(value) {
    const far = this.#points.map((point) => Math.abs(point.threshold - value));
    return Math.max(0, far.indexOf(Math.min(...far)));
  }

  /** A person's label decides; else the probability does, or the label of a model that has no threshold. */
  flags(breath, cycle) {
    if (breath.status !== "unseen" || !cycle || this.value === null) return breath.label !== this.classes[0];
    return abnormalProbability(cycle, this.classes) >= this.value;
  }

  #build() {
    const box = $("threshold");
    if (!this.#points.length) {
      const how = this.chosen === null
        ? "Breaths are abnormal where another class than normal is the most probable."
        : `Breaths are abnormal from a probability of ${this.chosen.toFixed(2)} on, which comes with the model.`;
      box.replaceChildren(
        h("h2", { class: "field-title", text: "Threshold" }),
        h("p", { class: "hint", text: `${how} This model carries no validation figures to choose another one by.` }),
      );
      return;
    }
    this.slider = h("input", { type: "range", id: "threshold-slider", min: 0, max: this.#points.length - 1, step: 1, value: this.#at });
    this.slider.addEventListener("input", () => this.#set(Number(this.slider.value)));
    this.output = h("output", { for: "threshold-slider", class: "number" });
    this.rates = h("dl", { class: "rates" });
    this.reset = h("button", { type: "button", class: "button small", text: "Model's own" });
    this.reset.addEventListener("click", () => {
      this.#set(this.#nearest(this.chosen ?? 0.5));
      this.slider.focus();
    });
    this.count = h("p", { class: "hint" });
    box.replaceChildren(
      h("div", { class: "row between" }, h("label", { class: "field-title", for: "threshold-slider", text: "Abnormal from" }), this.output),
      this.slider, this.rates, h("div", { class: "row between" }, this.count, this.reset),
    );
    this.#show();
  }

  #set(at) {
    this.#at = at;
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  #show() {
    const point = this.#points[this.#at];
    this.slider.value = this.#at;
    this.slider.setAttribute("aria-valuetext", `probability ${point.threshold.toFixed(2)}, sensitivity ${percent(point.sensitivity)}, specificity ${percent(point.specificity)}`);
    this.output.textContent = point.threshold.toFixed(2);
    this.reset.hidden = this.#at === this.#nearest(this.chosen ?? 0.5);
    const rate = (name, value) => h("div", {}, h("dt", { text: name }), h("dd", { text: percent(value) }));
    this.rates.replaceChildren(
      rate("Sensitivity", point.sensitivity),
      rate("Specificity", point.specificity),
      h("div", { class: "rates-of" }, h("dt", { class: "unseen", text: "Measured on" }), h("dd", { text: "on the model's validation patients" })),
    );
  }

  /** Says what the threshold does to this recording. */
  tell(flagged, total) {
    if (this.count) this.count.textContent = `${flagged} of ${total} breaths abnormal here`;
  }
}
