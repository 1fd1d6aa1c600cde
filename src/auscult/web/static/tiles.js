// What the timeline shows of the sound: peaks and spectrogram of the visible window, fetched as it moves.

import { getPeaks, getSaliency, getSpectrogram } from "./api.js";
import { picture } from "./colours.js";

const DELAY_MS = 120;
const MARGIN = 0.5; // of the window on both sides, so that a little scrolling asks nothing
const MAX_WIDTH = 4096;
const KEPT = 6;
const MAX_GAIN = 100;

/** Breath is quiet beside a knock on the stethoscope: what to multiply so that all but the loudest 2 % fit the plot. */
export function gainOf({ low, high }) {
  const sizes = high.map((value, i) => Math.max(value, -low[i])).sort((a, b) => a - b);
  const large = sizes[Math.floor(0.98 * (sizes.length - 1))] ?? 1;
  return Math.min(MAX_GAIN, Math.max(1, 0.9 / Math.max(large, 1e-6)));
}

export class Tiles {
  #timer = 0;
  #abort = new AbortController();
  #closed = new AbortController();

  /** `ceiling` is the highest frequency that the recording can hold, Hz. `arrived` is called when there is more to draw, `failed` with an error. */
  constructor(id, duration, ceiling, arrived, failed) {
    Object.assign(this, { id, duration, ceiling, arrived, failed });
    this.peaks = [];
    this.pictures = [];
    this.saliency = new Map();
    this.gain = null;
  }

  close() {
    clearTimeout(this.#timer);
    this.#abort.abort();
    this.#closed.abort();
  }

  /** Asks for a window when what there is does not cover it sharply enough. @param {number} pixels its width */
  want(view, pixels, now = false) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fetch(view, pixels), now ? 0 : DELAY_MS);
  }

  #covered(view, pixels) {
    const need = (view.end - view.start) / pixels;
    return this.peaks.some(
      (tile) => tile.start <= view.start + 1e-3 && tile.end >= view.end - 1e-3 && tile.step < need * 1.3,
    );
  }

  async #fetch(view, pixels) {
    if (this.#covered(view, pixels)) return;
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const length = view.end - view.start;
    const start = Math.max(0, view.start - MARGIN * length);
    const end = Math.min(this.duration, view.end + MARGIN * length);
    const width = Math.max(1, Math.min(MAX_WIDTH, Math.ceil((pixels * (end - start)) / length)));
    try {
      const [peaks, grid] = await Promise.all([
        getPeaks(this.id, start, end, width, signal),
        getSpectrogram(this.id, start, end, width, signal),
      ]);
      const step = (end - start) / width;
      this.gain ??= gainOf(peaks);
      this.#keep(this.peaks, { start, end, ...peaks, step });
      this.#keep(this.pictures, { ...grid, bytes: null, step, canvas: picture(grid, "sound") });
      this.arrived();
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    }
  }

  /** Coarse first, fine last: drawn in this order, the finest of a place is on top. The coarsest one always stays. */
  #keep(tiles, tile) {
    tiles.push(tile);
    if (tiles.length > KEPT) {
      const coarsest = tiles.reduce((a, b) => (b.end - b.start > a.end - a.start ? b : a));
      tiles.splice(tiles.findIndex((other) => other !== coarsest), 1);
    }
    tiles.sort((a, b) => b.step - a.step);
  }

  /** Fetches the saliency of breaths, one after another; a known one costs nothing. */
  async wantSaliency(breaths) {
    for (const { start_s, end_s } of breaths) {
      const key = `${start_s} ${end_s}`;
      if (this.saliency.has(key)) continue;
      this.saliency.set(key, null);
      try {
        const grid = await getSaliency(this.id, start_s, end_s, this.#closed.signal);
        this.saliency.set(key, { ...grid, bytes: null, canvas: picture(grid, "saliency") });
        this.arrived();
      } catch (error) {
        this.saliency.delete(key);
        if (error.name !== "AbortError") this.failed(error);
        return;
      }
    }
  }

  /** Saliency of the breaths as they are now. */
  salient(breaths) {
    return breaths.map(({ start_s, end_s }) => this.saliency.get(`${start_s} ${end_s}`)).filter(Boolean);
  }
}
