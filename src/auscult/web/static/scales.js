// From seconds and hertz to pixels, and where the ticks go.

export const GUTTER = 52; // left of the plots, for the frequency labels
export const ROWS = { overview: [2, 12], wave: [22, 98], lane: [104, 132], spectrum: [138, 330], axis: [330, 362] };
export const HEIGHT = 362;
const STEPS_S = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const TICKS_HZ = [100, 250, 500, 1000, 2000, 4000, 8000, 16000];

const mel = (hz) => 1127 * Math.log(1 + hz / 700);

export class TimeScale {
  constructor(view, width) {
    Object.assign(this, { start: view.start, end: view.end, left: GUTTER, width: Math.max(1, width - GUTTER - 8) });
  }

  get right() {
    return this.left + this.width;
  }

  x(time) {
    return this.left + ((time - this.start) / (this.end - this.start)) * this.width;
  }

  time(x) {
    return this.start + ((x - this.left) / this.width) * (this.end - this.start);
  }

  /** Round times, at least `gap` pixels from one another. */
  ticks(gap = 72) {
    const least = ((this.end - this.start) * gap) / this.width;
    const step = STEPS_S.find((candidate) => candidate >= least) ?? STEPS_S.at(-1);
    const first = Math.ceil(this.start / step - 1e-9);
    const count = Math.floor(this.end / step + 1e-9) - first + 1;
    return { step, times: Array.from({ length: Math.max(0, count) }, (_, i) => (first + i) * step) };
  }
}

export class FrequencyScale {
  constructor(grid, [top, bottom]) {
    this.value = grid.mel ? mel : (hz) => hz;
    Object.assign(this, { low: this.value(grid.lowHz), high: this.value(grid.highHz), top, bottom });
  }

  y(hz) {
    return this.bottom - ((this.value(hz) - this.low) / (this.high - this.low)) * (this.bottom - this.top);
  }

  ticks(gap = 16) {
    const kept = [];
    for (const hz of TICKS_HZ) {
      const y = this.y(hz);
      if (y > this.bottom - 6 || y < this.top + 6) continue;
      if (kept.length === 0 || this.y(kept.at(-1)) - y >= gap) kept.push(hz);
    }
    return kept;
  }
}
