// What the page asks of the server. Every failure is an ApiError with words for a person.

export class ApiError extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

const OFFLINE = "The server does not answer. Is “auscult serve” still running in its terminal?";

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(`/api/${path}`, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("offline", OFFLINE, 0);
  }
  if (answer.ok) return answer;
  let body = {};
  try {
    body = await answer.json();
  } catch {
    // no JSON: a proxy's page, or nothing; the status below has to do
  }
  throw new ApiError(body.code ?? "E_SERVER", body.message ?? `The server answered ${answer.status}.`, answer.status);
}

const json = async (path, options) => (await ask(path, options)).json();
const one = (id, rest = "") => `recordings/${encodeURIComponent(id)}${rest}`;
const piece = (start, end, width) => `?start=${start.toFixed(4)}&end=${end.toFixed(4)}&width=${width}`;

export const getInfo = () => json("info");
export const getRecordings = async () => (await json("recordings")).recordings;
export const getRecording = (id) => json(one(id));
export const analyse = (id) => json(one(id, "/analyse"), { method: "POST" });
export const cancel = (id) => json(one(id, "/cancel"), { method: "POST" });
export const remove = (id) => ask(one(id), { method: "DELETE" });
export const getReview = (id) => json(one(id, "/review"));
export const audioUrl = (id) => `/api/${one(id, "/audio")}`;
export const exportUrl = (id, format) => `/api/${one(id, `/export?format=${format}`)}`;
export const getPeaks = (id, start, end, width, signal) => json(one(id, `/peaks${piece(start, end, width)}`), { signal });

export const upload = (name, blob) =>
  json(`recordings?name=${encodeURIComponent(name)}`, {
    method: "POST",
    body: blob,
    headers: { "Content-Type": "application/octet-stream" },
  });

/** @param {boolean} leaving the page closes: the request has to outlive it. */
export const putReview = (id, review, leaving) =>
  json(one(id, "/review"), {
    method: "PUT",
    body: JSON.stringify(review),
    headers: { "Content-Type": "application/json" },
    keepalive: leaving,
  });

/** A grid of bytes, row 0 the highest frequency, and where it lies. */
async function grid(path, signal) {
  const answer = await ask(path, { signal });
  const number = (name) => Number(answer.headers.get(name));
  return {
    height: number("X-Height"), width: number("X-Width"),
    lowHz: number("X-Low-Hz"), highHz: number("X-High-Hz"),
    start: number("X-Start"), end: number("X-End"),
    mel: answer.headers.get("X-Scale") === "mel",
    bytes: new Uint8Array(await answer.arrayBuffer()),
  };
}

export const getSpectrogram = (id, start, end, width, signal) =>
  grid(one(id, `/spectrogram${piece(start, end, width)}`), signal);
export const getSaliency = (id, start, end, signal) =>
  grid(one(id, `/saliency?start=${start.toFixed(4)}&end=${end.toFixed(4)}`), signal);

/** Tells the server that a page is open, and when it closes: uploads are kept as long. */
export async function announcePage() {
  const { page } = await json("pages", { method: "POST" });
  addEventListener("pagehide", () => navigator.sendBeacon(`/api/pages/${page}/close`), { once: true });
}
