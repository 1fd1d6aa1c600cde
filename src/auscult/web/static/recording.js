// The screen of one recording: verdict, player, timeline, table and review, and how they hang together.

import { analyse, audioUrl, cancel, exportUrl, getRecording, remove } from "./api.js";
import { Editor, STATUS, Table } from "./breaths.js";
import { classOf } from "./colours.js";
import { $, clock, h, icon, span, speak, toast } from "./dom.js";
import { accepted, added, edgeMoved, freeSpan, predictedIndex, relabelled, removed } from "./edits.js";
import { explain, listen } from "./keys.js";
import { Player } from "./player.js";
import { Review } from "./review.js";
import { showSaved } from "./saved.js";
import { mostLikelyAbnormal, Threshold } from "./threshold.js";
import { Tiles } from "./tiles.js";
import { Timeline } from "./timeline.js";
import { showVerdict } from "./verdict.js";

const NEW_BREATH_S = 2;
const FORMATS = { icbhi: "ICBHI", audacity: "Audacity", raven: "Raven" };

export class Screen {
  id = null;
  #detail = null;
  #review = null;
  #tiles = null;
  #shown = [];
  #chosen = -1;
  #explaining = 0;
  #matches = new WeakMap();
  #opening = 0;

  /** `left` is called when the recording is gone. */
  constructor(info, left) {
    this.classes = info.model.classes;
    this.model = info.model;
    this.left = left;
    this.threshold = new Threshold(info);
    this.threshold.addEventListener("change", () => this.#render());
    this.player = new Player($("audio"), () => this.#moved(), () => toast("This recording cannot be played in this browser."));
    this.table = new Table(this.classes);
    this.timeline = new Timeline($("timeline"), $("plot"), $("marks"));
    const does = this.#actions();
    this.editor = new Editor(this.classes, { label: does.label, accept: does.accept, remove: does.remove, play: does.hear, edge: (side, time) => this.#edge(side, time) });
    listen($("recording"), does, this.classes);
    explain(this.classes);
    this.#wire(does);
    addEventListener("pagehide", () => this.#review?.save(true));
    document.addEventListener("visibilitychange", () => document.hidden && this.#review?.save());
  }

  #actions() {
    return {
      play: () => this.player.toggle(),
      hear: () => this.#hear(),
      step: (by) => this.#choose(Math.min(Math.max(this.#chosen + by, 0), this.#shown.length - 1)),
      first: () => this.#choose(0),
      last: () => this.#choose(this.#shown.length - 1),
      label: (name) => this.#onChosen((breaths, i) => relabelled(breaths, i, name)),
      accept: () => this.#accept(),
      remove: () => this.#remove(),
      edge: (side, by) => this.#chosen >= 0 && this.#edge(side, this.#review.breaths[this.#chosen][side] + by),
      add: () => this.#add(),
      undo: () => this.#review?.undo(),
      redo: () => this.#review?.redo(),
      heat: () => this.#heat(),
      slow: () => this.#slow(),
      escape: () => (this.timeline.cancelDrag(), this.player.playing && this.player.toggle()),
      zoomIn: () => this.timeline.zoom(1.5),
      zoomOut: () => this.timeline.zoom(1 / 1.5),
      fit: () => this.timeline.fit(),
      scroll: (by) => this.timeline.scroll(0.25 * by * (this.timeline.view.end - this.timeline.view.start)),
    };
  }

  #wire(does) {
    const buttons = { play: does.play, slow: does.slow, heat: does.heat, "zoom-in": does.zoomIn, "zoom-out": does.zoomOut, fit: does.fit, undo: does.undo, redo: does.redo, add: does.add };
    for (const [id, run] of Object.entries(buttons)) $(id).addEventListener("click", run);
    this.timeline.addEventListener("choose", ({ detail }) => this.#choose(detail.index, detail.play));
    this.timeline.addEventListener("view", () => this.timeline.saliency && this.#wantSaliency());
    this.timeline.addEventListener("seek", ({ detail }) => this.player.seek(detail.time));
    this.timeline.addEventListener("edit", ({ detail }) => this.#edit(detail.breaths, detail.index));
    this.timeline.addEventListener("add", ({ detail }) => this.#addSpan(detail.start, detail.end));
    this.table.body.addEventListener("click", (event) => {
      const index = this.table.indexOf(event.target);
      if (index >= 0) this.#choose(index, event.target.closest("button") !== null);
    });
    $("notes").addEventListener("input", () => this.#review?.note($("notes").value));
    $("remove").addEventListener("click", () => this.#forget());
    $("legend").replaceChildren(...this.classes.map((name, i) =>
      h("li", { class: `label ${classOf(i)}` }, h("span", { class: "swatch", "aria-hidden": "true" }), name)),
      h("li", { class: "hint", text: "filled or hatched: abnormal" }));
  }

  /** Shows a recording; again after its state changed. */
  async open(id) {
    if (id !== this.id) this.close();
    this.id = id;
    const turn = ++this.#opening;
    const detail = await getRecording(id);
    if (turn !== this.#opening) return;
    this.#detail = detail;
    $("name").textContent = detail.name;
    document.title = `${detail.name} · auscult`;
    const done = detail.state === "done";
    $("state").hidden = done;
    $("result").hidden = !done;
    if (!done) return this.progress(detail);
    if (!this.#review) await this.#openReview(turn);
  }

  async #openReview(turn) {
    const detail = this.#detail;
    const review = new Review(this.id);
    await review.load();
    if (turn !== this.#opening) return;
    this.#review = review;
    const failed = (error) => toast(error.message);
    this.#tiles = new Tiles(this.id, detail.prediction.duration_s, detail.native_rate_hz / 2, () => this.timeline.draw(), failed);
    showVerdict(detail, this.model);
    $("remove").hidden = detail.source === "folder";
    $("notes").value = review.notes;
    $("export-links").replaceChildren(...Object.entries(FORMATS).map(([format, text]) =>
      h("a", { class: "button", href: exportUrl(this.id, format), download: true, text, onclick: () => review.save() })));
    review.addEventListener("change", () => this.#render());
    review.addEventListener("state", () => this.#saved());
    this.player.open(audioUrl(this.id), detail.prediction.duration_s);
    this.timeline.open(this.#tiles, detail.prediction.duration_s, review.breaths[0]?.start_s ?? 0);
    this.#chosen = review.breaths.length ? 0 : -1;
    this.#render();
    this.#saved();
    this.#moved();
  }

  close() {
    this.#opening++;
    this.#review?.save();
    this.#tiles?.close();
    this.timeline.close();
    this.player.close();
    this.timeline.saliency = false;
    $("heat").setAttribute("aria-pressed", "false");
    $("conflict").replaceChildren();
    Object.assign(this, { id: null });
    this.#detail = this.#review = this.#tiles = null;
    this.#shown = [];
  }

  /** What is shown of a recording that has no result (yet). */
  progress(summary) {
    if (summary.id !== this.id || summary.state === "done") return;
    const running = summary.state === "running" || summary.state === "queued";
    const text = {
      queued: "Waiting for the recordings before it.", running: "Finding and judging the breaths.",
      waiting: "Not analysed yet.", cancelled: "The analysis was cancelled.", failed: summary.error?.message ?? "",
    }[summary.state];
    const title = { queued: "In line", running: "Analysing", waiting: "Not analysed", cancelled: "Cancelled", failed: "This cannot be analysed" }[summary.state];
    const known = $("state").dataset.state === `${this.id} ${summary.state}`;
    if (known && running) {
      if (summary.state === "running") $("state").querySelector("progress").value = summary.progress;
      return;
    }
    $("state").dataset.state = `${this.id} ${summary.state}`;
    $("state").classList.toggle("failed", summary.state === "failed");
    const bar = h("progress", { max: 1, "aria-label": "Analysing" });
    const button = (words, run, extra = "") => h("button", { type: "button", class: `button ${extra}`, text: words, onclick: () => this.#ask(run) });
    $("state").replaceChildren(
      h("div", { role: summary.state === "failed" ? "alert" : null }, h("h2", { text: title }), h("p", { text }),
        summary.error ? h("p", { class: "hint", text: `Code ${summary.error.code}` }) : null),
      ...(running ? [bar, button("Cancel", cancel)] : []),
      ...(summary.state === "waiting" || summary.state === "cancelled" ? [button("Analyse", analyse, "primary")] : []),
      ...(summary.state === "failed" && summary.source === "upload" ? [h("a", { class: "button", href: "#/", text: "Try another file" })] : []),
      ...(summary.source === "upload" && !running ? [button("Remove", () => this.#drop(), "danger")] : []));
  }

  async #ask(run) {
    try {
      await run(this.id);
      this.left();
    } catch (error) {
      toast(error.message);
    }
  }

  async #drop() {
    await remove(this.id);
    location.hash = "#/";
  }

  #forget() {
    if (confirm(`Remove ${this.#detail.name} from this page? The file you dropped stays where it is.`)) this.#ask(() => this.#drop());
  }

  #saved() {
    showSaved(this.#review, () => ($("notes").value = this.#review.notes));
  }

  #cycleOf(breath) {
    const { cycles } = this.#detail.prediction;
    if (!this.#matches.has(breath)) this.#matches.set(breath, cycles[predictedIndex(cycles, breath)] ?? null);
    return this.#matches.get(breath);
  }

  #render() {
    if (!this.#review) return;
    const { breaths } = this.#review;
    this.#chosen = Math.min(this.#chosen, breaths.length - 1);
    this.#shown = breaths.map((breath, i) => {
      const cycle = this.#cycleOf(breath);
      const flagged = this.threshold.flags(breath, cycle);
      return { breath, cycle, flagged, index: this.classes.indexOf(breath.label), chosen: i === this.#chosen, likely: mostLikelyAbnormal(cycle, this.classes) };
    });
    const flagged = this.#shown.filter((one) => one.flagged).length;
    const left = breaths.filter((breath) => breath.status === "unseen").length;
    this.timeline.shown = this.#shown;
    this.timeline.draw();
    this.table.render(this.#shown, this.#chosen);
    this.editor.render(this.#shown[this.#chosen], this.#chosen);
    this.threshold.tell(flagged, breaths.length);
    $("progress").textContent = breaths.length === 0 ? "" : left ? `${left} of ${breaths.length} to check` : `all ${breaths.length} checked`;
    $("undo").disabled = !this.#review.canUndo;
    $("redo").disabled = !this.#review.canRedo;
    const { duration_s } = this.#detail.prediction;
    $("plot").setAttribute("aria-label", `Waveform and spectrogram of ${clock(duration_s)} with ${breaths.length} breaths, ${flagged} of them abnormal. The table below lists them.`);
    if (this.timeline.saliency) this.#wantSaliency();
  }

  #choose(index, play = false) {
    if (index < 0 || !this.#shown[index]) return;
    this.#chosen = index;
    const { breath } = this.#shown[index];
    this.#render();
    this.timeline.reveal(breath.start_s, breath.end_s);
    this.table.reveal(index);
    if (play) this.#hear();
    else speak(`Breath ${index + 1} of ${this.#shown.length}, ${breath.label}, ${span(breath)}, ${STATUS[breath.status]}`);
  }

  #hear() {
    const breath = this.#review?.breaths[this.#chosen];
    if (breath) this.player.playSpan(breath.start_s, breath.end_s);
  }

  #edit(breaths, index) {
    this.#chosen = index;
    this.#review.edit(breaths);
  }

  #onChosen(change) {
    if (!this.#review || this.#chosen < 0) return;
    this.#edit(change(this.#review.breaths, this.#chosen), this.#chosen);
    const { label, status } = this.#review.breaths[this.#chosen];
    speak(`Breath ${this.#chosen + 1}: ${label}, ${STATUS[status]}`);
  }

  #accept() {
    if (!this.#review) return;
    this.#onChosen(accepted);
    const next = this.#review.breaths.findIndex((breath, i) => i > this.#chosen && breath.status === "unseen");
    if (next >= 0) this.#choose(next);
  }

  #remove() {
    if (!this.#review || this.#chosen < 0) return;
    const number = this.#chosen + 1;
    this.#edit(removed(this.#review.breaths, this.#chosen), Math.max(0, this.#chosen - (number === this.#review.breaths.length)));
    toast(`Breath ${number} deleted. Ctrl Z brings it back.`);
  }

  #edge(side, time) {
    if (!Number.isFinite(time)) return;
    this.#onChosen((breaths, i) => edgeMoved(breaths, i, side, time, this.#detail.prediction.duration_s));
  }

  #add() {
    if (!this.#review) return;
    const free = freeSpan(this.#review.breaths, this.player.time, NEW_BREATH_S, this.#detail.prediction.duration_s);
    if (free) this.#addSpan(...free);
    else toast("There is a breath at the playhead already. Click on an empty place first, or drag over one.");
  }

  #addSpan(start, end) {
    const { breaths, index } = added(this.#review.breaths, start, end, this.classes[0]);
    this.#edit(breaths, index);
    toast(`Breath ${index + 1} added as ${this.classes[0]}. Keys 1 to ${Math.min(9, this.classes.length)} change its label.`);
  }

  #heat() {
    this.timeline.saliency = !this.timeline.saliency;
    $("heat").setAttribute("aria-pressed", String(this.timeline.saliency));
    if (this.timeline.saliency) this.#wantSaliency();
    this.timeline.draw();
  }

  /** Of the chosen breath first, then of the others in sight. */
  async #wantSaliency() {
    const { start, end } = this.timeline.view;
    const seen = this.#review.breaths.filter((breath, i) => i !== this.#chosen && breath.end_s > start && breath.start_s < end);
    const chosen = this.#review.breaths[this.#chosen];
    this.#explaining += 1; // zooming asks anew while the first is awaited, which loads the network: some seconds
    $("heat").setAttribute("aria-busy", "true");
    await this.#tiles.wantSaliency(chosen ? [chosen, ...seen] : seen);
    this.#explaining -= 1;
    $("heat").setAttribute("aria-busy", String(this.#explaining > 0));
  }

  #slow() {
    this.player.slow = !this.player.slow;
    $("slow").setAttribute("aria-pressed", String(this.player.slow));
  }

  #moved() {
    const { time, playing } = this.player;
    $("clock").textContent = clock(time);
    if (($("play").getAttribute("aria-label") === "Pause") !== playing) {
      $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
      $("play").replaceChildren(icon(playing ? "pause" : "play"));
    }
    this.timeline.play(time, playing);
  }
}
