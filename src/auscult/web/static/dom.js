// Building the page: text only ever enters it as text, so that a file's name can hold anything.

export const $ = (id) => document.getElementById(id);

/** An element with properties ("class", "text", "on..." listeners, else attributes) and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") element.textContent = value;
    else if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** One of the symbols of index.html. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** Seconds as text: 3.2 s, or 1:05.2 from a minute on. */
export function clock(seconds, digits = 1) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${seconds.toFixed(digits)} s`;
  const tenths = Math.round(seconds * 10 ** digits);
  const minutes = Math.floor(tenths / (60 * 10 ** digits));
  const rest = (tenths / 10 ** digits - minutes * 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

export const span = (breath) => `${breath.start_s.toFixed(2)} – ${breath.end_s.toFixed(2)} s`;
export const hertz = (value) => (value >= 1000 ? `${+(value / 1000).toFixed(2)} kHz` : `${Math.round(value)} Hz`);
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** Says something to a screen reader without showing it. */
export function speak(text) {
  $("spoken").textContent = text;
}

let fading = 0;

/** A short message at the foot of the page, spoken too. */
export function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => $("toast").classList.remove("shown"), 4000);
}

/** A message that stays until it is dismissed. `title` may hold a file's name. */
export function warn(title, message) {
  const box = h("div", { class: "alert", role: "alert" });
  const close = h("button", { type: "button", class: "button small", text: "Dismiss", onclick: () => box.remove() });
  box.append(h("div", {}, h("strong", { text: title }), h("p", { text: message })), close);
  $("alerts").append(box);
}
