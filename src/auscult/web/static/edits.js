// Changes of a list of breaths. The old list stays as it was: that is what undo keeps.

import { clamp } from "./dom.js";

export const MIN_BREATH_S = 0.1;
const TOUCH_S = 0.002; // closer edges are one edge: cycles follow one another
const round = (seconds) => Math.round(seconds * 1000) / 1000;
const touched = (breath) => (breath.status === "added" ? "added" : "changed");

const replaced = (breaths, index, changes) =>
  breaths.map((breath, i) => (i === index ? { ...breath, ...changes } : breath));

export const accepted = (breaths, index) =>
  breaths[index].status === "unseen" ? replaced(breaths, index, { status: "accepted" }) : breaths;

/** The same label again is an acceptance. */
export function relabelled(breaths, index, label) {
  if (breaths[index].label === label) return accepted(breaths, index);
  return replaced(breaths, index, { label, status: touched(breaths[index]) });
}

export const removed = (breaths, index) => breaths.filter((_, i) => i !== index);

/** A new breath at its place in time; `index` says where that is. */
export function added(breaths, start_s, end_s, label) {
  const breath = { start_s: round(start_s), end_s: round(end_s), label, status: "added" };
  const after = breaths.findIndex((other) => other.start_s > start_s);
  const index = after < 0 ? breaths.length : after;
  return { breaths: [...breaths.slice(0, index), breath, ...breaths.slice(index)], index };
}

/**
 * One edge moved to `time`. A neighbour that touches the edge moves along, another one stops it, and no breath gets
 * shorter than MIN_BREATH_S.
 * @param {"start_s"|"end_s"} side
 */
export function edgeMoved(breaths, index, side, time, duration) {
  const breath = breaths[index];
  const late = side === "end_s";
  const neighbour = breaths[index + (late ? 1 : -1)];
  const other = late ? "start_s" : "end_s";
  const joined = neighbour && Math.abs(neighbour[other] - breath[side]) < TOUCH_S;
  const apart = neighbour && (late ? neighbour.start_s >= breath.end_s : neighbour.end_s <= breath.start_s);
  let limit = late ? duration : 0;
  if (joined) limit = late ? neighbour.end_s - MIN_BREATH_S : neighbour.start_s + MIN_BREATH_S;
  else if (apart) limit = neighbour[other];
  const place = late
    ? clamp(time, breath.start_s + MIN_BREATH_S, Math.max(limit, breath.start_s + MIN_BREATH_S))
    : clamp(time, Math.min(limit, breath.end_s - MIN_BREATH_S), breath.end_s - MIN_BREATH_S);
  const moved = replaced(breaths, index, { [side]: round(place), status: touched(breath) });
  if (!joined) return moved;
  return replaced(moved, index + (late ? 1 : -1), { [other]: round(place), status: touched(neighbour) });
}

/** Where a breath may be added around `time`: the free span there, at most `length` long; null where none is. */
export function freeSpan(breaths, time, length, duration) {
  let low = 0;
  let high = duration;
  for (const breath of breaths) {
    if (breath.start_s <= time && time < breath.end_s) return null;
    if (breath.end_s <= time) low = Math.max(low, breath.end_s);
    else if (breath.start_s > time) high = Math.min(high, breath.start_s);
  }
  const start = clamp(time, low, Math.max(low, high - length));
  const end = Math.min(high, start + length);
  return end - start < MIN_BREATH_S ? null : [start, end];
}

/** The predicted cycle that a breath came from: the one it shares most of its time with, null for none. */
export function predictedIndex(cycles, breath) {
  let best = null;
  let most = 0.3;
  cycles.forEach((cycle, i) => {
    const shared = Math.min(cycle.end_s, breath.end_s) - Math.max(cycle.start_s, breath.start_s);
    const either = Math.max(cycle.end_s, breath.end_s) - Math.min(cycle.start_s, breath.start_s);
    if (shared / either > most) [best, most] = [i, shared / either];
  });
  return best;
}
