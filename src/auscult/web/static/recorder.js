// Recording from the microphone as plain PCM: a compressed recording would lose what crackles are made of.

/** A 16-bit mono WAV of blocks of samples in [-1, 1]. */
export function wav(blocks, rate) {
  const length = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * 2, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const block of blocks) {
    for (const sample of block) {
      view.setInt16(at, Math.max(-1, Math.min(1, sample)) * 32767, true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}

const WORDS = {
  NotAllowedError: "The browser may not use the microphone. Allow it for this page in the browser's address bar, then try again.",
  NotFoundError: "No microphone was found. Plug one in, then try again.",
  NotReadableError: "The microphone is in use by another program, or the system does not let the browser have it.",
};
export const microphoneError = (error) => WORDS[error.name] ?? `The microphone could not be opened: ${error.message}`;

export class Recorder {
  #blocks = [];
  #samples = 0;

  /** `heard` is called with {seconds, peak} about every 3 ms of sound, `full` after `most` seconds. */
  constructor(most, heard, full) {
    this.most = most;
    this.heard = heard;
    this.full = full;
  }

  async start() {
    if (!navigator.mediaDevices || !window.AudioWorkletNode) {
      throw new Error("this browser cannot record here; open the page as 127.0.0.1 or localhost.");
    }
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio });
    try {
      this.context = new AudioContext();
      await this.context.audioWorklet.addModule("/static/recorder-worklet.js");
      const node = new AudioWorkletNode(this.context, "auscult-recorder", { numberOfOutputs: 0 });
      node.port.onmessage = ({ data }) => this.#take(data);
      this.context.createMediaStreamSource(this.stream).connect(node);
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  #take(block) {
    if (this.#samples >= this.most * this.context.sampleRate) return this.full();
    this.#blocks.push(block);
    this.#samples += block.length;
    let peak = 0;
    for (const sample of block) peak = Math.max(peak, Math.abs(sample));
    this.heard({ seconds: this.#samples / this.context.sampleRate, peak });
  }

  /** Lets the microphone go; the recording as a WAV. */
  stop() {
    this.stream.getTracks().forEach((track) => track.stop());
    const rate = this.context?.sampleRate ?? 44100;
    this.context?.close();
    return wav(this.#blocks, rate);
  }
}
