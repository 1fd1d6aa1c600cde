// The page: which screen is shown, and what the server is doing.

import { analyse, announcePage, cancel, getInfo, getRecordings } from "./api.js";
import { $, plural, speak, toast, warn } from "./dom.js";
import { Intake } from "./intake.js";
import { Library, result } from "./library.js";
import { Screen } from "./recording.js";

const POLL_MS = 700;
const busy = (one) => one.state === "queued" || one.state === "running";

let library = null;
let screen = null;
let timer = 0;
let states = new Map();
let shownId = null;

const idInAddress = () => (location.hash.startsWith("#/") ? decodeURIComponent(location.hash.slice(2)) : "");

/** Fetches the list, brings both screens up to it, and again soon while something is being analysed. */
async function refresh() {
  clearTimeout(timer);
  try {
    const recordings = await getRecordings();
    library.render(recordings);
    await follow(recordings);
    if (recordings.some(busy)) timer = setTimeout(refresh, POLL_MS);
  } catch (error) {
    toast(error.message);
    if (error.code === "offline") timer = setTimeout(refresh, 5 * POLL_MS);
  }
}

async function follow(recordings) {
  for (const one of recordings) {
    if (states.get(one.id) === one.state) continue;
    if (states.has(one.id) && one.state === "done") speak(`${one.name}: ${result(one)[0]}, ${plural(one.breaths, "breath")}`);
    if (states.has(one.id) && one.id === shownId) await screen.open(one.id);
  }
  const shown = recordings.find((one) => one.id === shownId);
  if (shown) screen.progress(shown);
  states = new Map(recordings.map((one) => [one.id, one.state]));
}

/** Asks something for recordings, one after another: they are analysed in this order. */
async function act(run, ...ids) {
  try {
    for (const id of ids) {
      await run(id);
      if (id === ids[0]) await refresh();
    }
  } catch (error) {
    toast(error.message);
  }
  await refresh();
}

/** The recordings before and after this one, in the order of the list. */
function neighbours(id) {
  const order = library.sorted.map((one) => one.id);
  const at = order.indexOf(id);
  $("place").textContent = at < 0 ? "" : `${at + 1} of ${order.length}`;
  for (const [name, other] of [["previous", order[at - 1]], ["next", order[at + 1]]]) {
    $(name).disabled = at < 0 || !other;
    $(name).onclick = () => (location.hash = `#/${other}`);
  }
}

async function route(focus = true) {
  const id = idInAddress();
  shownId = id || null;
  $("library").hidden = Boolean(id);
  $("recording").hidden = !id;
  if (!id) {
    screen.close();
    document.title = "auscult";
    if (focus) $("library-title").focus();
    return refresh();
  }
  $("name").textContent = "";
  $("result").hidden = $("state").hidden = true;
  scrollTo(0, 0);
  neighbours(id);
  try {
    await screen.open(id);
    const one = library.recordings.find((other) => other.id === id);
    if (one?.state === "waiting") await act(analyse, id); // to open a recording of the folder is to ask for it
    if (focus && shownId === id) $("name").focus();
  } catch (error) {
    if (shownId !== id) return;
    warn("This recording cannot be shown", error.message);
    location.hash = "#/";
  }
}

async function arrived(taken) {
  await refresh();
  if (taken.length === 1) location.hash = `#/${taken[0].id}`;
  else location.hash = "#/";
}

async function start() {
  let info;
  try {
    info = await getInfo();
    await announcePage();
  } catch (error) {
    $("main").setAttribute("aria-busy", "false");
    return warn("The page could not start", error.message);
  }
  $("model").textContent = `Model ${info.model.name}, version ${info.version}`;
  $("model").title = `sha256 ${info.model.sha256}, trained on ${info.model.dataset}`;
  library = new Library({ analyse: (...ids) => act(analyse, ...ids), cancel: (id) => act(cancel, id) });
  if (info.folder) library.sort = { key: "doubt", direction: -1 };
  screen = new Screen(info, refresh);
  new Intake(info, arrived);
  addEventListener("hashchange", () => route());
  addEventListener("pageshow", (event) => event.persisted && announcePage());
  await refresh();
  await route(false);
}

start();
