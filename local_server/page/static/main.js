// Keeps the page up to date: one event stream says that something has changed, then what is shown is fetched again.

import * as actions from "/ui/actions.js";
import * as details from "/ui/details.js";
import { $, copier, countDown, h, request } from "/ui/lib.js";
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
let byItself = false; // whether the run that is shown was chosen by the page

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
  if (results[2].reason?.status === 404) missing();
  else if (results[2].status === "fulfilled" && tree.shownRoot() !== null) $("missing").hidden = true;
  if (results[3].reason?.status === 404) details.hide();
  const failed = results.some((one) => one.status === "rejected" && one.reason.status === undefined);
  if (failed) all = true; // the stream notices the same, and calls again
  connection(!failed);
  await settle();
}

/** Choose the newest root when none is chosen, and tell how to begin when there is none at all. */
async function settle() {
  const newest = roots.newest();
  if (tree.shownRoot() === null && newest !== null && !roots.filtering()) {
    await open(newest);
    byItself = true;
  }
  $("empty").hidden = tree.shownRoot() !== null || newest !== null || roots.filtering();
  if (!$("empty").hidden && !$("commands").children.length) await tellCommands().catch(() => {});
}

async function open(id) {
  byItself = false;
  const opened = tree.open(id).catch((error) => (error.status === 404 ? missing() : (all = true)));
  if (location.hash !== `#${encodeURIComponent(id)}`) history.pushState(null, "", `#${encodeURIComponent(id)}`);
  details.hide();
  roots.mark(id);
  document.title = `${id} - Local server`;
  $("missing").hidden = true;
  $("empty").hidden = true;
  await opened;
}

/** Say that the promise of the address is not there, nor any more; it is shown as soon as it comes. */
function missing() {
  if (byItself) return leave();
  tree.clear(true);
  $("missing-title").textContent = `There is no promise ${tree.shownRoot()}`;
  $("missing").hidden = false;
}

/** Show no run, until the newest is chosen. */
function leave() {
  details.hide();
  tree.clear();
  roots.mark(null);
  document.title = "Local server";
  $("missing").hidden = true;
  history.replaceState(null, "", location.pathname + location.search);
}

/** Name commands that lead to this server. */
async function tellCommands() {
  const { stream } = await request("/ui/ports");
  const port = location.port || (location.protocol === "https:" ? "443" : "80");
  const env = [
    ["localhost", "127.0.0.1"].includes(location.hostname) ? "" : `RESONATE_HOST=${location.protocol}//${location.hostname}`,
    port === "8001" ? "" : `RESONATE_PORT_STORE=${port}`,
    stream === 8002 ? "" : `RESONATE_PORT_MESSAGE_SOURCE=${stream}`,
  ].filter(Boolean).join(" ");
  const command = (text) => h("div", { class: "stored" }, h("pre", { tabindex: "0" }, h("code", {}, text)), copier("the command", () => text));
  $("commands").replaceChildren(...[
    env && [h("p", {}, "In each terminal, lead the SDK to this server:"), command(`export ${env}`)],
    h("p", {}, "A worker and a client, in a checkout of the examples:"),
    command("uv run factorial_worker.py --delay 1"),
    command("uv run factorial_client.py 10"),
    h("p", { class: "hint" }, env ? "With these variables, programs of your own find it, too." : "Programs of your own find this server by themselves."),
  ].flat().filter(Boolean));
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
    history.replaceState(null, "", location.pathname + location.search); // not an address of ours
  }
}

roots.start(open);
workers.start(choose);
tree.start((id) => details.open(id).catch(() => {}));
tree.onFollow(choose);
details.start(choose, () => tree.shownRoot() !== null && tree.deselect());
actions.start((what) => {
  if (what === "deleted") leave();
  all = true;
  changed();
});
$("delete").addEventListener("click", () => actions.remove(tree.shownRoot()));
$("graph-title").after(copier("the id", tree.shownRoot));
$("show-newest").addEventListener("click", () => {
  leave();
  roots.forget();
  changed();
});
window.addEventListener("hashchange", followAddress);
document.addEventListener("keydown", (event) => {
  const typing = /^(TEXTAREA|SELECT)$|^INPUT$/.test(document.activeElement.tagName) && document.activeElement.type !== "radio";
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "/") $("search").focus();
  else if (event.key === "?") actions.showKeys();
  else return;
  event.preventDefault();
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
  countDown();
  if (!tree.settled()) tree.render();
}, 500);
followAddress();
changed();
connect();
