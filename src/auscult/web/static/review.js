// The review of one recording: its breaths, undo and redo, and saving by itself.

import { getReview, putReview } from "./api.js";

const DELAY_MS = 300;
const RETRY_MS = 3000;
const same = (a, b) => JSON.stringify([a.breaths, a.notes]) === JSON.stringify([b.breaths, b.notes]);

/** Fires "change" when the breaths differ, "state" when `state` does: saved | saving | unsaved | offline | conflict. */
export class Review extends EventTarget {
  breaths = [];
  notes = "";
  state = "saved";
  message = "";
  #version = 0;
  #undo = [];
  #redo = [];
  #timer = 0;
  #busy = false;

  constructor(id) {
    super();
    this.id = id;
    this.key = `auscult-review-${id}`;
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  get canRedo() {
    return this.#redo.length > 0;
  }

  /** Fetches the stored review; what a crash or a reload kept from being saved comes back. */
  async load() {
    this.#take(await getReview(this.id));
    const draft = JSON.parse(sessionStorage.getItem(this.key) ?? "null");
    if (draft === null) return;
    if (same(draft, this)) sessionStorage.removeItem(this.key);
    else {
      const newer = this.#version !== draft.version;
      Object.assign(this, { breaths: draft.breaths, notes: draft.notes });
      if (newer) this.#say("conflict");
      else this.#changed();
    }
  }

  #take(stored) {
    this.breaths = stored.breaths;
    this.notes = stored.notes;
    this.#version = stored.version;
  }

  edit(breaths) {
    if (breaths === this.breaths) return;
    this.#undo.push(this.breaths);
    this.#redo = [];
    this.breaths = breaths;
    this.#changed();
  }

  undo() {
    this.#step(this.#undo, this.#redo);
  }

  redo() {
    this.#step(this.#redo, this.#undo);
  }

  #step(from, to) {
    if (!from.length) return;
    to.push(this.breaths);
    this.breaths = from.pop();
    this.#changed();
  }

  note(text) {
    this.notes = text;
    this.#changed();
  }

  #changed() {
    const draft = { version: this.#version, breaths: this.breaths, notes: this.notes };
    sessionStorage.setItem(this.key, JSON.stringify(draft));
    this.dispatchEvent(new Event("change"));
    if (this.state === "conflict") return;
    this.#say("unsaved");
    this.#later(DELAY_MS);
  }

  #later(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.save(), delay);
  }

  #say(state, message = "") {
    this.state = state;
    this.message = message;
    this.dispatchEvent(new Event("state"));
  }

  /** Sends what is not stored yet, one request at a time. */
  async save(leaving = false) {
    clearTimeout(this.#timer);
    if (this.state === "saved" || this.state === "conflict" || this.#busy) return;
    const sent = { version: this.#version, breaths: this.breaths, notes: this.notes };
    this.#busy = true;
    this.#say("saving");
    try {
      this.#version = (await putReview(this.id, sent, leaving)).version;
      if (same(sent, this)) {
        sessionStorage.removeItem(this.key);
        this.#say("saved");
      } else this.#later(0);
    } catch (error) {
      if (error.status === 409) this.#say("conflict");
      else {
        this.#say("offline", error.message);
        if (error.code === "offline") this.#later(RETRY_MS);
      }
    } finally {
      this.#busy = false;
    }
  }

  /** Ends a conflict. @param {boolean} mine this page's breaths replace the stored ones; else the other way round. */
  async settle(mine) {
    const stored = await getReview(this.id);
    if (mine) {
      this.#version = stored.version;
      this.#say("unsaved");
      await this.save();
    } else {
      this.#undo.push(this.breaths);
      this.#take(stored);
      sessionStorage.removeItem(this.key);
      this.#say("saved");
      this.dispatchEvent(new Event("change"));
    }
  }
}
