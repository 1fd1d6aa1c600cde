// Hands every block of the microphone's first channel to the page.

class Recorder extends AudioWorkletProcessor {
  process([input]) {
    if (input.length) this.port.postMessage(input[0].slice());
    return true;
  }
}

registerProcessor("auscult-recorder", Recorder);
