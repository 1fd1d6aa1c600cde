// The verdict on a recording and the facts about it.

import { $, clock, h, hertz, icon } from "./dom.js";

const SOURCES = {
  given: "given by the caller", annotation: "from the annotation file", segmented: "found in the sound",
  windows: "fixed windows: no breaths could be told apart", whole: "the whole recording at once",
};
const SAID = { normal: "No abnormal sounds found", abnormal: "Abnormal sounds likely", "cannot say": "Cannot say" };

/** What to show first: a mark, a tone, a headline and a sentence. */
export function headline(detail) {
  const kind = detail.verdict?.kind ?? detail.verdict;
  const p = detail.p_abnormal === null ? "" : `Probability of abnormal sounds: ${detail.p_abnormal.toFixed(2)}.`;
  if (kind === "poor") {
    return { mark: "warn", tone: "bad", title: "Poor recording: record again", text: "The sound is not good enough to judge, so what is said about its breaths below is unreliable." };
  }
  if (kind === "cannot_say") return { mark: "ask", tone: "unsure", title: "Cannot say", text: "It is not certain that this recording can be judged." };
  if (detail.said === "cannot say") {
    return { mark: "ask", tone: "unsure", title: "Cannot say", text: `The recording is good enough to judge, but: ${detail.why || "the model is not sure"}.` };
  }
  const tone = detail.said === "abnormal" ? "found" : "good";
  return { mark: tone === "good" ? "check" : "warn", tone, title: SAID[detail.said] ?? "Analysed", text: `The recording is good enough to judge. ${p}` };
}

export function showVerdict(detail, model) {
  const { mark, tone, title, text } = headline(detail);
  const reasons = detail.verdict?.reasons ?? [];
  $("verdict").className = `card verdict ${tone}`;
  $("verdict").replaceChildren(
    h("span", { class: "verdict-mark", "aria-hidden": "true" }, icon(mark)),
    h("div", {}, h("h2", { text: title }), h("p", { text }),
      reasons.length ? h("ul", { class: "reasons" }, ...reasons.map((reason) => h("li", { text: reason }))) : null),
  );
  const fact = (name, value) => h("div", {}, h("dt", { text: name }), h("dd", { text: value }));
  const { prediction } = detail;
  const facts = [
    fact("Length", clock(prediction.duration_s)),
    fact("Sample rate", `${hertz(detail.native_rate_hz)}`),
    fact("Effective bandwidth", detail.bandwidth_hz ? hertz(detail.bandwidth_hz) : "not measured"),
    fact("Breaths", SOURCES[prediction.cycles_from] ?? prediction.cycles_from),
    fact("Model", model.name),
  ];
  const notes = [...new Set([...(prediction.notes ?? []), ...(detail.notes ?? [])])];
  if (notes.length) facts.push(fact("Note", notes.join("; ")));
  $("facts").replaceChildren(...facts);
}
