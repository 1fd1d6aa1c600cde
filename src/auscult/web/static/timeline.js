// The timeline: a window of the recording that zooms and scrolls, and what a pointer does on it.

import { theme } from "./colours.js";
import { clamp } from "./dom.js";
import { drawMarks, drawSound } from "./drawing.js";
import { edgeMoved, MIN_BREATH_S } from "./edits.js";
import { HEIGHT, ROWS, TimeScale } from "./scales.js";

const WHOLE_S = 45; // a longer recording opens with half a minute of it
const FIRST_S = 30;
const MIN_VIEW_S = 0.2;
const EDGE_PX = 7;
const DRAG_PX = 4;

/**
 * Fires "choose" {index, play}, "seek" {time}, "edit" {breaths, index}, "add" {start, end} and "view" {start, end}.
 * @param {HTMLElement} place holds the canvases #plot and #marks
 */
export class Timeline extends EventTarget {
  view = { start: 0, end: 1 };
  shown = []; // {breath, index of its class, flagged, chosen}
  playhead = 0;
  saliency = false;
  #tiles = null;
  #duration = 1;
  #drag = null;
  #draft = null;
  #edited = null;
  #frame = 0;
  #colours = theme();

  constructor(place, plot, marks) {
    super();
    Object.assign(this, { place, plot, marks });
    new ResizeObserver(() => this.#resized()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#colours = theme();
      this.draw();
    });
    marks.addEventListener("pointerdown", (event) => this.#down(event));
    marks.addEventListener("pointermove", (event) => this.#move(event));
    marks.addEventListener("pointerup", (event) => this.#up(event));
    marks.addEventListener("pointercancel", () => this.cancelDrag());
    place.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** @param {number} first where the first breath is: a long recording may begin with silence */
  open(tiles, duration, first) {
    this.#tiles = tiles;
    this.#duration = duration;
    this.playhead = 0;
    const start = first > FIRST_S / 2 ? first - 1 : 0;
    if (duration <= WHOLE_S) this.show(0, duration, true);
    else this.show(start, start + FIRST_S, true);
  }

  close() {
    this.#tiles = null;
    this.shown = [];
    this.cancelDrag();
  }

  get scale() {
    return new TimeScale(this.view, this.place.clientWidth);
  }

  /** Shows from `start` to `end`, as far as the recording goes. */
  show(start, end, now = false) {
    const length = clamp(end - start, Math.min(MIN_VIEW_S, this.#duration), this.#duration);
    const first = clamp(start, 0, this.#duration - length);
    this.view = { start: first, end: first + length };
    if (!this.#tiles) return;
    this.#tiles.want(this.view, Math.ceil(this.scale.width * this.#sharpness), now);
    this.#tell("view", this.view);
    this.draw();
  }

  fit() {
    this.show(0, this.#duration);
  }

  /** @param {number} factor above 1 shows less time @param {number} at what stays where it is, seconds */
  zoom(factor, at = this.#middle()) {
    const { start, end } = this.view;
    this.show(at - (at - start) / factor, at - (at - start) / factor + (end - start) / factor);
  }

  /** The chosen breath or the playhead if seen, else the middle. */
  #middle() {
    const chosen = this.shown.find((one) => one.chosen)?.breath;
    const at = chosen ? (chosen.start_s + chosen.end_s) / 2 : this.playhead;
    const { start, end } = this.view;
    return at > start && at < end ? at : (start + end) / 2;
  }

  scroll(seconds) {
    this.show(this.view.start + seconds, this.view.end + seconds);
  }

  /** Scrolls as far as needed to see a span. */
  reveal(start, end) {
    const length = this.view.end - this.view.start;
    if (start >= this.view.start && end <= this.view.end) return;
    if (end - start > length) this.show(start - 0.1 * (end - start), end + 0.1 * (end - start));
    else this.show((start + end - length) / 2, (start + end + length) / 2);
  }

  /** Moves the playhead and, while playing, the window with it. */
  play(time, playing) {
    this.playhead = time;
    const length = this.view.end - this.view.start;
    const gone = time > this.view.end - 0.04 * length || time < this.view.start;
    if (playing && !this.#drag && gone && this.view.end < this.#duration) this.show(time - 0.08 * length, time + 0.92 * length);
    else this.draw(true);
  }

  get #sharpness() {
    return Math.min(2, window.devicePixelRatio || 1);
  }

  #resized() {
    const width = this.place.clientWidth;
    if (!width) return;
    for (const canvas of [this.plot, this.marks]) {
      canvas.width = Math.round(width * this.#sharpness);
      canvas.height = Math.round(HEIGHT * this.#sharpness);
    }
    this.show(this.view.start, this.view.end);
    cancelAnimationFrame(this.#frame);
    this.#paint(false);
  }

  #marksOnly = true;

  /** Draws at the next frame. @param {boolean} marksOnly the sound below has not changed */
  draw(marksOnly = false) {
    this.#marksOnly &&= marksOnly;
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#paint(this.#marksOnly));
  }

  #paint(marksOnly) {
    this.#marksOnly = true;
    if (!this.#tiles || !this.place.clientWidth) return;
    const time = this.scale;
    const clean = (canvas) => {
      const g = canvas.getContext("2d");
      g.setTransform(this.#sharpness, 0, 0, this.#sharpness, 0, 0);
      g.clearRect(0, 0, canvas.width, canvas.height);
      return g;
    };
    if (!marksOnly) {
      const salient = this.saliency ? this.#tiles.salient(this.shown.map((one) => one.breath)) : [];
      drawSound(clean(this.plot), time, this.#tiles, this.#colours, salient);
    }
    const shown = this.#edited ? this.shown.map((one, i) => ({ ...one, breath: this.#edited[i] })) : this.shown;
    const state = { duration: this.#duration, draft: this.#draft, playhead: this.playhead };
    drawMarks(clean(this.marks), time, shown, state, this.#colours);
  }

  // What is under the pointer.

  #hit(x, y, reach = EDGE_PX) {
    const time = this.scale;
    if (y < ROWS.overview[1] + 4) return { kind: "overview" };
    if (y > ROWS.axis[0]) return { kind: "axis" };
    const order = this.shown.map((one, i) => [one.chosen ? 0 : 1, i]).sort((a, b) => a[0] - b[0]);
    let best = null;
    for (const [, i] of order) {
      for (const side of ["start_s", "end_s"]) {
        const distance = Math.abs(time.x(this.shown[i].breath[side]) - x);
        if (distance <= reach && (!best || distance < best.distance)) best = { kind: "edge", index: i, side, distance };
      }
    }
    if (best) return best;
    const at = time.time(x);
    const inside = order.find(([, i]) => this.shown[i].breath.start_s <= at && at < this.shown[i].breath.end_s);
    return inside ? { kind: "breath", index: inside[1] } : { kind: "empty" };
  }

  #point(event) {
    const box = this.marks.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #down(event) {
    if (event.button !== 0 || !this.#tiles) return;
    const { x, y } = this.#point(event);
    const touch = event.pointerType === "touch";
    const inLane = y >= ROWS.lane[0] - 4 && y <= ROWS.lane[1] + 4;
    const hit = this.#hit(x, y, touch ? 14 : EDGE_PX);
    // a finger scrolls, except in the lane of the breaths
    if (touch && !inLane && (hit.kind === "edge" || hit.kind === "empty")) Object.assign(hit, this.#under(x), { touch });
    this.#drag = { ...hit, x, view: this.view, from: this.scale.time(x), moved: false };
    if (hit.kind === "overview") this.#toOverview(x);
    this.marks.setPointerCapture(event.pointerId);
    this.place.focus({ preventScroll: true });
    if (!touch) event.preventDefault();
  }

  #under(x) {
    const at = this.scale.time(x);
    const index = this.shown.findIndex(({ breath }) => breath.start_s <= at && at < breath.end_s);
    return index < 0 ? { kind: "empty" } : { kind: "breath", index };
  }

  #move(event) {
    const { x, y } = this.#point(event);
    const drag = this.#drag;
    if (!drag) {
      const cursors = { edge: "ew-resize", breath: "pointer", empty: "crosshair", overview: "grab", axis: "pointer" };
      this.marks.style.cursor = cursors[this.#hit(x, y).kind];
      return;
    }
    drag.moved ||= Math.abs(x - drag.x) >= DRAG_PX;
    if (!drag.moved) return;
    const now = clamp(this.scale.time(x), 0, this.#duration);
    if (drag.kind === "overview") this.#toOverview(x);
    else if (drag.kind === "edge") {
      const breaths = this.shown.map((one) => one.breath);
      this.#edited = edgeMoved(breaths, drag.index, drag.side, now, this.#duration);
    } else if (drag.kind === "empty" && !drag.touch) this.#draft = this.#freed(drag.from, now);
    else {
      this.marks.style.cursor = "grabbing";
      const seconds = ((drag.x - x) / this.scale.width) * (drag.view.end - drag.view.start);
      this.show(drag.view.start + seconds, drag.view.end + seconds);
    }
    this.draw(true);
  }

  /** A new breath from `from` to `to`, stopped by the breaths on both sides. */
  #freed(from, to) {
    let [low, high] = [Math.min(from, to), Math.max(from, to)];
    for (const { breath } of this.shown) {
      if (breath.end_s <= from) low = Math.max(low, breath.end_s);
      if (breath.start_s > from) high = Math.min(high, breath.start_s);
    }
    return [clamp(low, 0, this.#duration), clamp(high, 0, this.#duration)];
  }

  #toOverview(x) {
    const time = this.scale;
    const half = (this.view.end - this.view.start) / 2;
    const at = ((x - time.left) / time.width) * this.#duration;
    this.show(at - half, at + half);
  }

  #up(event) {
    const drag = this.#drag;
    if (!drag) return;
    const [edited, draft] = [this.#edited, this.#draft];
    this.cancelDrag();
    this.marks.releasePointerCapture(event.pointerId);
    if (edited) this.#tell("edit", { breaths: edited, index: drag.index });
    else if (draft) {
      if (draft[1] - draft[0] >= MIN_BREATH_S) this.#tell("add", { start: draft[0], end: draft[1] });
    } else if (!drag.moved) this.#click(drag);
  }

  #click(drag) {
    const hit = drag.kind === "edge" ? this.#under(drag.x) : drag;
    if (hit.kind === "breath") this.#tell("choose", { index: hit.index, play: true });
    else if (hit.kind !== "overview") this.#tell("seek", { time: clamp(drag.from, 0, this.#duration) });
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  cancelDrag() {
    this.#drag = this.#edited = this.#draft = null;
    this.draw(true);
  }

  #wheel(event) {
    if (!this.#tiles) return;
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault(); // the browser would zoom the page
      const { x } = this.#point(event);
      this.zoom(Math.exp(clamp(-event.deltaY * lines, -120, 120) * 0.004), clamp(this.scale.time(x), this.view.start, this.view.end));
      return;
    }
    const sideways = event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX;
    if (Math.abs(sideways) <= Math.abs(event.shiftKey ? 0 : event.deltaY)) return; // the page scrolls
    event.preventDefault();
    this.scroll(((sideways * lines) / this.scale.width) * (this.view.end - this.view.start));
  }
}
