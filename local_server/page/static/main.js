// Keeps the page up to date: one event stream says that something has changed, then what is shown is fetched again.

import * as details from "/ui/details.js";
import { $ } from "/ui/lib.js";
import * as roots from "/ui/roots.js";
import * as tree from "/ui/tree.js";
import * as workers from "/ui/workers.js";

const APART = 200; // ms between two updates at least
const SHARE = 8; // an update that took the server and us t ms is followed by the next after 8 t at the earliest
const SILENCE = 25_000; // ms; the server says something every 10 s
let events = null;
let silence;
let stale = false;
let all = true; // fetch also what cannot change: the server may be another one
let updating = false;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function connect() {
  events?.close();
  events = new EventSource("/ui/events");
  events.addEventListener("open", () => (all = true));
  events.addEventListener("changed", () => {
    heard();
    changed();
  });
  events.addEventListener("beat", heard);
  events.addEventListener("error", () => {
    connection(false);
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, 1000);
  });
  heard();
}

function heard() {
  clearTimeout(silence);
  silence = setTimeout(() => {
    connection(false);
    connect();
  }, SILENCE);
}

function connection(live) {
  const text = live ? "live" : "no connection to the server, trying again";
  if ($("connection").textContent !== text) $("connection").textContent = text;
  $("connection").classList.toggle("live", live);
}

/** Fetch what is shown, now or when the update under way is done; however many changes come, updates keep apart. */
async function changed() {
  stale = true;
  if (updating) return;
  updating = true;
  while (stale && !document.hidden) {
    stale = false;
    const began = performance.now();
    await update();
    const took = performance.now() - began;
    await pause(Math.max(APART, Math.min(SHARE * took, 2000)) - took);
  }
  updating = false;
}

async function update() {
  const force = all;
  all = false;
  const results = await Promise.allSettled([roots.refresh(), workers.refresh(), tree.refresh(force), details.refresh(force)]);
  if (results[2].reason?.status === 404) tree.clear();
  if (results[3].reason?.status === 404) details.hide();
  const failed = results.some((one) => one.status === "rejected" && one.reason.status === undefined);
  if (failed) all = true; // the stream notices the same, and calls again
  connection(!failed);
  await settle();
}

/** Choose the newest root when none is chosen, and tell how to begin when there is none at all. */
async function settle() {
  const newest = roots.newest();
  if (tree.shownRoot() === null && newest !== null && !roots.filtering()) await open(newest);
  $("empty").hidden = tree.shownRoot() !== null || newest !== null || roots.filtering();
}

async function open(id) {
  if (location.hash !== `#${encodeURIComponent(id)}`) history.pushState(null, "", `#${encodeURIComponent(id)}`);
  details.hide();
  roots.mark(id);
  document.title = `${id} - Local server`;
  await tree.open(id).catch((error) => (error.status === 404 ? tree.clear() : (all = true)));
}

/** Show a promise: its row where the tree has it, else the tree below it. */
function choose(id) {
  if (!tree.reveal(id)) open(id);
}

function followAddress() {
  try {
    const id = decodeURIComponent(location.hash.slice(1));
    if (id && id !== tree.shownRoot()) open(id);
  } catch {
    history.replaceState(null, "", "/"); // not an address of ours
  }
}

roots.start(open);
workers.start(choose);
tree.start((id) => details.open(id).catch(() => {}));
details.start(choose, () => tree.shownRoot() !== null && tree.deselect());
window.addEventListener("hashchange", followAddress);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    $("search").focus();
  }
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    events?.close(); // a page that nobody sees costs nothing
    clearTimeout(silence);
  } else connect();
});
setInterval(() => {
  if (document.hidden) return;
  roots.tick();
  workers.tick();
  if (!tree.settled()) tree.render();
}, 500);
followAddress();
changed();
connect();
