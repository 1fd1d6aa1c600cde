// The list of recordings: states, results, and sorting, by doubt for instance.

import { $, clock, h, plural } from "./dom.js";

const RANK = { running: 0, queued: 1, failed: 2, waiting: 4, cancelled: 5, done: 3 };
const COLUMNS = [
  { key: "name", title: "Recording", value: (r) => r.name.toLocaleLowerCase(), first: 1 },
  { key: "result", title: "Result", value: (r) => `${RANK[r.state]}${r.verdict}${r.said}`, first: 1 },
  { key: "p_abnormal", title: "P(abnormal)", value: (r) => r.p_abnormal, first: -1, wide: true },
  { key: "doubt", title: "Doubt", value: (r) => r.doubt, first: -1 },
  { key: "breaths", title: "Breaths", value: (r) => r.breaths, first: -1, wide: true },
  { key: "duration_s", title: "Length", value: (r) => r.duration_s, first: -1, wide: true },
  { key: "reviewed", title: "Review", value: (r) => (r.reviewed ? 1 : 0), first: 1, wide: true },
];
const WAITING = { waiting: "Not analysed yet", cancelled: "Cancelled" };

/** Result of a done recording in two words and a tone. */
export function result(summary) {
  const kind = summary.verdict?.kind ?? summary.verdict;
  if (kind === "poor") return ["Poor", "bad"];
  if (kind === "cannot_say" || summary.said === "cannot say") return ["Cannot say", "unsure"];
  return summary.said === "abnormal" ? ["Abnormal", "found"] : ["Normal", "good"];
}

/** `act` has analyse(...ids) and cancel(id). */
export class Library {
  recordings = [];
  sort = { key: null, direction: 1 };
  #shown = "";

  constructor(act) {
    this.act = act;
    const line = $("records").tHead.rows[0];
    this.heads = COLUMNS.map((column) => {
      const button = h("button", { type: "button", class: "sort", text: column.title, onclick: () => this.#sortBy(column) });
      return h("th", { scope: "col", class: `col-${column.key}${column.wide ? " wide" : ""}` }, button);
    });
    line.replaceChildren(...this.heads);
    $("analyse-all").addEventListener("click", () => act.analyse(...this.sorted.filter((one) => one.state === "waiting").map((one) => one.id)));
  }

  #waiting() {
    return this.recordings.filter((one) => one.state === "waiting");
  }

  #sortBy(column) {
    const again = this.sort.key === column.key;
    this.sort = { key: column.key, direction: again ? -this.sort.direction : column.first };
    this.render(this.recordings);
  }

  /** In the order of the table; what has no value comes last. */
  get sorted() {
    const column = COLUMNS.find((one) => one.key === this.sort.key);
    if (!column) return this.recordings;
    const empty = (value) => value === null || value === undefined;
    return [...this.recordings].sort((a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      if (empty(x) || empty(y)) return empty(x) - empty(y);
      return this.sort.direction * (x < y ? -1 : x > y ? 1 : 0);
    });
  }

  render(recordings) {
    this.recordings = recordings;
    const state = JSON.stringify([recordings, this.sort]);
    if (state === this.#shown) return;
    this.#shown = state;
    const waiting = this.#waiting().length;
    $("library").classList.toggle("is-empty", recordings.length === 0);
    $("list").hidden = recordings.length === 0;
    $("steps").hidden = recordings.length > 0;
    $("analyse-all").hidden = waiting === 0;
    $("analyse-all").textContent = `Analyse ${waiting === 1 ? "the one waiting" : `all ${waiting} waiting`}`;
    const done = recordings.filter((one) => one.state === "done");
    const reviewed = done.filter((one) => one.reviewed).length;
    $("list-count").textContent = `${plural(recordings.length, "recording")}, ${done.length} analysed, ${reviewed} reviewed. Doubt is 1 where the model is least sure.`;
    this.heads.forEach((head, i) => {
      const on = COLUMNS[i].key === this.sort.key;
      head.toggleAttribute("aria-sort", on);
      if (on) head.setAttribute("aria-sort", this.sort.direction > 0 ? "ascending" : "descending");
    });
    this.#rows();
  }

  #rows() {
    const body = $("records").tBodies[0];
    const focused = body.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    body.replaceChildren(...this.sorted.map((one) => this.#row(one)));
    if (focused) body.querySelector(`[data-focus="${focused}"]`)?.focus();
  }

  #row(one) {
    const link = h("a", { class: "record-name", href: `#/${one.id}`, text: one.name, "data-focus": `open-${one.id}` });
    const done = one.state === "done";
    const cell = (key, ...inside) => h("td", { class: `col-${key}${COLUMNS.find((c) => c.key === key).wide ? " wide number" : ""}` }, ...inside);
    const total = one.breaths ?? 0;
    const seen = one.reviewed ? "Reviewed" : one.seen ? `${one.seen} of ${total}` : "–";
    return h("tr", {},
      h("th", { scope: "row", class: "col-name" }, link),
      cell("result", this.#result(one)),
      cell("p_abnormal", done && one.p_abnormal !== null ? one.p_abnormal.toFixed(2) : "–"),
      cell("doubt", done && one.doubt !== null ? this.#doubt(one.doubt) : "–"),
      cell("breaths", done ? String(total) : "–"),
      cell("duration_s", clock(one.duration_s)),
      cell("reviewed", done ? seen : "–"));
  }

  #doubt(value) {
    const meter = h("span", { class: "doubt", "aria-hidden": "true" }, h("span"));
    meter.firstChild.style.width = `${100 * value}%`;
    return h("span", { class: "doubt-cell" }, meter, h("span", { class: "number", text: value.toFixed(2) }));
  }

  #result(one) {
    if (one.state === "done") {
      const [text, tone] = result(one);
      return h("span", { class: `tag ${tone}`, text });
    }
    if (one.state === "failed") return h("span", { class: "tag bad", text: "Failed" });
    if (one.state === "queued" || one.state === "running") {
      const bar = h("progress", { max: 1, "aria-label": `Analysing ${one.name}` });
      if (one.state === "running") bar.value = one.progress;
      const stop = h("button", { type: "button", class: "button small", text: "Cancel", "aria-label": `Cancel ${one.name}`, "data-focus": `cancel-${one.id}`, onclick: () => this.act.cancel(one.id) });
      return h("span", { class: "row running" }, one.state === "queued" ? h("span", { class: "hint", text: "In line" }) : bar, stop);
    }
    const start = h("button", { type: "button", class: "button small", text: "Analyse", "aria-label": `Analyse ${one.name}`, "data-focus": `start-${one.id}`, onclick: () => this.act.analyse(one.id) });
    return h("span", { class: "row" }, h("span", { class: "hint", text: WAITING[one.state] }), start);
  }
}
