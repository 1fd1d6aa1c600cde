// Drawing the timeline: the sound on one canvas, breaths and playhead on a second one above it.

import { classColour, inkOn } from "./colours.js";
import { clock } from "./dom.js";
import { FrequencyScale, ROWS } from "./scales.js";

const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const MARKS = { accepted: "✓ ", changed: "✎ ", added: "+ ", unseen: "" };

function clipped(g, time, [top, bottom], draw) {
  g.save();
  g.beginPath();
  g.rect(time.left, top, time.width, bottom - top);
  g.clip();
  draw();
  g.restore();
}

function drawWave(g, time, tiles, colours) {
  const [top, bottom] = ROWS.wave;
  const middle = (top + bottom) / 2;
  const half = (bottom - top) / 2 - 2;
  g.fillStyle = colours.line;
  g.fillRect(time.left, middle - 0.5, time.width, 1);
  const tile = tiles.peaks.findLast((one) => one.start <= time.start + 1e-3 && one.end >= time.end - 1e-3) ?? tiles.peaks[0];
  if (!tile) return;
  const count = tile.low.length;
  const at = (i) => time.x(tile.start + ((tile.end - tile.start) * i) / count);
  g.fillStyle = colours.wave;
  g.beginPath();
  for (let i = 0; i < count; i++) g.lineTo(at(i + 0.5), middle - tile.high[i] * tiles.gain * half - 0.5);
  for (let i = count - 1; i >= 0; i--) g.lineTo(at(i + 0.5), middle - tile.low[i] * tiles.gain * half + 0.5);
  g.fill();
}

/** Draws a grid at its own place: both axes are linear in the picture. */
function drawGrid(g, time, scale, tile) {
  const [left, right] = [time.x(tile.start), time.x(tile.end)];
  const [top, bottom] = [scale.y(tile.highHz), scale.y(tile.lowHz)];
  g.drawImage(tile.canvas, left, top, right - left, bottom - top);
}

/** What lies above half the sample rate was never recorded: it is covered, so that nobody reads it as silence. */
function drawCeiling(g, time, scale, ceiling) {
  const [top] = ROWS.spectrum;
  const y = scale.y(ceiling);
  if (y < top + 2) return;
  g.fillStyle = "rgb(8 8 24 / 82%)";
  g.fillRect(time.left, top, time.width, y - top);
  if (y < top + 18) return;
  g.fillStyle = "#c9cfda";
  g.textAlign = "center";
  g.textBaseline = "middle";
  g.fillText(fitted(g, "above half the sample rate: nothing was recorded", time.width - 20), (time.left + time.right) / 2, (top + y) / 2);
}

function drawFrequencies(g, time, scale, colours) {
  g.textAlign = "right";
  g.textBaseline = "middle";
  for (const hz of scale.ticks()) {
    const y = Math.round(scale.y(hz)) + 0.5;
    g.fillStyle = colours.muted;
    g.fillText(hz >= 1000 ? `${hz / 1000} kHz` : `${hz} Hz`, time.left - 8, y);
    g.fillRect(time.left - 5, y - 0.5, 5, 1);
  }
}

function drawTimes(g, time, colours) {
  const [top] = ROWS.axis;
  const { step, times } = time.ticks();
  g.textAlign = "center";
  g.textBaseline = "top";
  g.fillStyle = colours.muted;
  for (const t of times) {
    const x = Math.round(time.x(t));
    g.fillRect(x, top, 1, 5);
    const text = step < 1 ? t.toFixed(step < 0.1 ? 2 : 1) : t < 60 && time.end < 60 ? String(t) : clock(t, 0).replace(" s", "");
    if (x < time.right - 16) g.fillText(text, x, top + 8);
  }
  g.textAlign = "right";
  g.fillText(time.end < 60 ? "s" : "min:s", time.right, top + 8);
}

function drawGain(g, time, tiles, colours) {
  if (!tiles.gain || tiles.gain < 1.5) return;
  g.textAlign = "right";
  g.textBaseline = "middle";
  g.fillStyle = colours.muted;
  g.fillText(`× ${Math.round(tiles.gain)}`, time.left - 8, (ROWS.wave[0] + ROWS.wave[1]) / 2);
}

/** The sound: waveform, spectrogram with its saliency, both axes. */
export function drawSound(g, time, tiles, colours, salient) {
  g.font = FONT;
  clipped(g, time, ROWS.wave, () => drawWave(g, time, tiles, colours));
  g.fillStyle = "#080818";
  g.fillRect(time.left, ROWS.spectrum[0], time.width, ROWS.spectrum[1] - ROWS.spectrum[0]);
  const top = tiles.pictures[0];
  if (top) {
    const scale = new FrequencyScale(top, ROWS.spectrum);
    clipped(g, time, ROWS.spectrum, () => {
      tiles.pictures.forEach((tile) => drawGrid(g, time, scale, tile));
      if (salient.length) {
        g.fillStyle = "rgb(8 8 24 / 55%)"; // the sound steps back
        g.fillRect(time.left, ROWS.spectrum[0], time.width, ROWS.spectrum[1] - ROWS.spectrum[0]);
      }
      salient.forEach((tile) => drawGrid(g, time, scale, tile));
      drawCeiling(g, time, scale, tiles.ceiling);
    });
    drawFrequencies(g, time, scale, colours);
  }
  drawGain(g, time, tiles, colours);
  drawTimes(g, time, colours);
}

function fitted(g, text, width) {
  if (g.measureText(text).width <= width) return text;
  for (let length = text.length - 1; length > 0; length--) {
    const shorter = `${text.slice(0, length).trimEnd()}…`;
    if (g.measureText(shorter).width <= width) return length > 2 ? shorter : "";
  }
  return "";
}

/** Slanted lines in the box that is the path now. */
function hatch(g, left, width, [top, bottom], colour) {
  g.save();
  g.clip();
  g.beginPath();
  for (let x = left - (bottom - top); x < left + width; x += 7) {
    g.moveTo(x, bottom);
    g.lineTo(x + bottom - top, top);
  }
  g.globalAlpha = 0.55;
  g.lineWidth = 2;
  g.strokeStyle = colour;
  g.stroke();
  g.restore();
  g.beginPath();
  g.roundRect(left, top + 1, width, bottom - top - 2, 5);
}

function drawBreath(g, time, shown, colours) {
  const { breath, index, flagged, chosen, likely } = shown;
  const [left, right] = [time.x(breath.start_s), time.x(breath.end_s)];
  const hatched = flagged && index === 0; // abnormal in sum, though no abnormal class is the most probable one
  const colour = classColour(colours, hatched ? likely : index);
  const filled = flagged && !hatched;
  const [top, bottom] = ROWS.lane;
  const width = Math.max(2, right - left - 4);
  g.beginPath();
  g.roundRect(left + 2, top + 1, width, bottom - top - 2, 5);
  g.fillStyle = filled ? colour : colours.surface;
  g.fill();
  if (hatched) hatch(g, left + 2, width, ROWS.lane, colour);
  g.lineWidth = 2;
  g.strokeStyle = colour;
  g.stroke();
  g.fillStyle = filled ? inkOn(colour) : colours.ink;
  const visible = Math.max(left + 1, time.left);
  const text = fitted(g, MARKS[breath.status] + breath.label, Math.min(right, time.right) - visible - 14);
  if (hatched && text) {
    g.fillStyle = colours.surface;
    g.fillRect(visible + 3, top + 6, g.measureText(text).width + 8, bottom - top - 12);
    g.fillStyle = colours.ink;
  }
  g.fillText(text, visible + 7, (top + bottom) / 2 + 0.5);
  if (chosen) drawChosen(g, left, right, colours);
}

function drawChosen(g, left, right, colours) {
  const [top, bottom] = [ROWS.wave[0], ROWS.spectrum[1]];
  g.fillStyle = colours.accent;
  g.globalAlpha = 0.13;
  g.fillRect(left, top, right - left, ROWS.wave[1] - top);
  g.globalAlpha = 1;
  for (const x of [left, right]) {
    g.fillStyle = colours.accent;
    g.fillRect(x - 1, top, 2, ROWS.lane[1] - top);
    g.fillStyle = "#ffffff";
    g.fillRect(x - 1, ROWS.spectrum[0], 2, bottom - ROWS.spectrum[0]);
  }
  g.lineWidth = 2;
  g.strokeStyle = colours.ink;
  g.beginPath();
  g.roundRect(left - 1, ROWS.lane[0] - 2, right - left + 2, ROWS.lane[1] - ROWS.lane[0] + 4, 6);
  g.stroke();
}

function drawOverview(g, time, shown, state, colours) {
  const [top, bottom] = ROWS.overview;
  const x = (t) => time.left + (t / state.duration) * time.width;
  g.fillStyle = colours.sunken;
  g.beginPath();
  g.roundRect(time.left, top, time.width, bottom - top, 5);
  g.fill();
  for (const one of shown) {
    g.fillStyle = classColour(colours, one.index);
    g.globalAlpha = one.flagged ? 1 : 0.4;
    g.fillRect(x(one.breath.start_s), top + 3, Math.max(1, x(one.breath.end_s) - x(one.breath.start_s) - 0.5), bottom - top - 6);
  }
  g.globalAlpha = 1;
  g.strokeStyle = colours.accent;
  g.lineWidth = 2;
  g.beginPath();
  g.roundRect(x(time.start), top - 1, Math.max(6, x(time.end) - x(time.start)), bottom - top + 2, 6);
  g.stroke();
}

/** Breaths, the one being drawn, and the playhead. */
export function drawMarks(g, time, shown, state, colours) {
  g.font = FONT;
  g.textAlign = "left";
  g.textBaseline = "middle";
  drawOverview(g, time, shown, state, colours);
  const area = [ROWS.wave[0], ROWS.spectrum[1]];
  clipped(g, time, area, () => {
    const [laneTop, laneBottom] = ROWS.lane;
    g.fillStyle = colours.sunken;
    g.fillRect(time.left, laneTop, time.width, laneBottom - laneTop);
    for (const one of shown) if (!one.chosen) drawBreath(g, time, one, colours);
    for (const one of shown) if (one.chosen) drawBreath(g, time, one, colours);
    if (state.draft) drawChosen(g, time.x(state.draft[0]), time.x(state.draft[1]), colours);
  });
  if (state.playhead < time.start || state.playhead > time.end) return;
  const x = Math.round(time.x(state.playhead));
  g.fillStyle = colours.accent;
  g.fillRect(x - 1, ROWS.wave[0], 2, ROWS.spectrum[0] - ROWS.wave[0]);
  g.fillStyle = "#ffffff";
  g.fillRect(x - 1, ROWS.spectrum[0], 2, ROWS.spectrum[1] - ROWS.spectrum[0]);
  g.fillStyle = colours.accent;
  g.beginPath();
  g.moveTo(x - 6, ROWS.wave[0] - 6);
  g.lineTo(x + 6, ROWS.wave[0] - 6);
  g.lineTo(x, ROWS.wave[0] + 3);
  g.fill();
}
