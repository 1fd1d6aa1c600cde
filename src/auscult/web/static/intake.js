// How recordings come in: dropped, chosen, or recorded from the microphone.

import { upload } from "./api.js";
import { $, clock, toast, warn } from "./dom.js";
import { microphoneError, Recorder } from "./recorder.js";

const megabytes = (bytes) => (bytes < 1e9 ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`);
const SLOW_BYTES = 3e7;
const LEAST_S = 1;
const MOST_S = 600; // held in memory while it is recorded

/** Takes files and hands the summaries of the accepted ones to `arrived`. */
export class Intake {
  #recorder = null;

  constructor(info, arrived) {
    this.info = info;
    this.arrived = arrived;
    const kinds = info.suffixes.map((suffix) => suffix.slice(1).toUpperCase()).slice(0, 5).join(", ");
    $("drop-hint").textContent = `${kinds}, up to ${megabytes(info.max_bytes)}. Nothing leaves this computer.`;
    $("files").accept = info.suffixes.join(",");
    $("choose").addEventListener("click", () => $("files").click());
    $("files").addEventListener("change", () => {
      this.take([...$("files").files]);
      $("files").value = "";
    });
    $("record").addEventListener("click", () => this.#record());
    $("recorder-stop").addEventListener("click", () => this.#finish(true));
    $("recorder-cancel").addEventListener("click", () => this.#finish(false));
    this.#listen();
  }

  #listen() {
    const files = (event) => event.dataTransfer?.types.includes("Files");
    let depth = 0;
    const cover = (change) => {
      depth = change === 0 ? 0 : Math.max(0, depth + change);
      $("cover").hidden = depth === 0;
    };
    addEventListener("dragenter", (event) => files(event) && cover(1));
    addEventListener("dragleave", (event) => files(event) && cover(-1));
    addEventListener("dragover", (event) => files(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      if (!files(event)) return;
      event.preventDefault();
      cover(0);
      this.take([...event.dataTransfer.files]);
    });
  }

  /** Uploads files one after another; each refusal is a message of its own. */
  async take(files) {
    $("alerts").replaceChildren();
    const taken = [];
    for (const file of files) {
      const problem = this.#problem(file);
      if (problem) {
        warn(file.name, problem);
        continue;
      }
      if (file.size > SLOW_BYTES) toast(`Reading ${file.name}`);
      try {
        taken.push(await upload(file.name, file));
      } catch (error) {
        warn(file.name, error.message);
        if (error.code === "offline") break;
      }
    }
    if (taken.length) this.arrived(taken);
  }

  #problem(file) {
    if (file.size === 0) return "This is empty, or a folder. Drop sound files; for a folder, start “auscult serve FOLDER”.";
    if (file.size <= this.info.max_bytes) return null;
    return `${megabytes(file.size)} is more than the ${megabytes(this.info.max_bytes)} this page takes. Use “auscult predict” for it, or cut it.`;
  }

  async #record() {
    $("alerts").replaceChildren();
    const recorder = new Recorder(MOST_S, (heard) => this.#show(heard), () => this.#finish(true));
    $("record").disabled = true;
    try {
      await recorder.start();
    } catch (error) {
      warn("No recording", microphoneError(error));
      $("record").disabled = false;
      return;
    }
    this.#recorder = recorder;
    this.loud = 0;
    this.seconds = 0;
    $("recorder").hidden = false;
    $("recorder-hint").textContent = "Keep the room quiet; 15 to 20 s, several breaths.";
    $("recorder-stop").focus();
  }

  #show({ seconds, peak }) {
    this.loud = Math.max(peak, this.loud * 0.97);
    if (Math.floor(seconds * 10) === Math.floor(this.seconds * 10)) return;
    this.seconds = seconds;
    $("recorder-level").value = this.loud;
    $("recorder-time").textContent = clock(Math.floor(seconds), 0).replace(" s", "").replace(/^(\d+)$/, (s) => `0:${s.padStart(2, "0")}`);
    if (this.loud > 0.98) $("recorder-hint").textContent = "Too loud: the sound is clipped. Turn the input down.";
  }

  #finish(keep) {
    const recorder = this.#recorder;
    if (!recorder) return;
    this.#recorder = null;
    const sound = recorder.stop();
    $("recorder").hidden = true;
    $("record").disabled = false;
    $("record").focus();
    if (!keep) return;
    if (this.seconds < LEAST_S) return warn("No recording", `Only ${this.seconds.toFixed(1)} s were recorded; record ${LEAST_S} s or more.`);
    const now = new Date();
    const part = (value) => String(value).padStart(2, "0");
    const day = `${now.getFullYear()}-${part(now.getMonth() + 1)}-${part(now.getDate())}`;
    const name = `recording ${day} ${part(now.getHours())}.${part(now.getMinutes())}.${part(now.getSeconds())}.wav`;
    this.take([new File([sound], name)]);
  }
}
