// Playing the recording, whole or one breath, at full or half speed.

export class Player {
  #until = null;
  #frame = 0;

  /** `changed` is called after every step of the playhead, `failed` with an error when nothing can be played. */
  constructor(audio, changed, failed) {
    this.audio = audio;
    this.changed = changed;
    this.failed = failed;
    audio.preservesPitch = true;
    for (const name of ["play", "pause", "seeked", "ended"]) audio.addEventListener(name, () => this.#tick());
    audio.addEventListener("timeupdate", () => this.#stopAtEnd()); // frames stand still in a hidden tab
  }

  open(url, duration) {
    this.audio.preload = duration > 600 ? "metadata" : "auto";
    this.audio.src = url;
    this.audio.load();
  }

  close() {
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.#until = null;
  }

  get time() {
    return this.audio.currentTime;
  }

  get playing() {
    return !this.audio.paused;
  }

  get slow() {
    return this.audio.defaultPlaybackRate < 1;
  }

  set slow(on) {
    this.audio.defaultPlaybackRate = this.audio.playbackRate = on ? 0.5 : 1;
  }

  seek(time) {
    this.#until = null;
    this.audio.currentTime = time;
  }

  /** Plays from `start` to `end`, seconds. */
  playSpan(start, end) {
    this.audio.currentTime = start;
    this.#until = end;
    this.#start();
  }

  /** Pause, or go on to the end of the recording. */
  toggle() {
    if (this.playing) return this.audio.pause();
    this.#until = null;
    this.#start();
  }

  async #start() {
    try {
      await this.audio.play();
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error); // aborted: paused before it began
    }
  }

  #stopAtEnd() {
    if (this.#until === null || this.audio.currentTime < this.#until) return;
    this.audio.pause();
    this.audio.currentTime = this.#until;
    this.#until = null;
  }

  #tick() {
    cancelAnimationFrame(this.#frame);
    this.#stopAtEnd();
    this.changed();
    if (this.playing) this.#frame = requestAnimationFrame(() => this.#tick());
  }
}
