// The call graph of one promise as a tree with time bars. Only the rows in sight are in the document.

import { $, calls, copy, failed, h, link, now, putId, request, stateClass, stateIcon } from "/ui/lib.js";
import * as timeline from "/ui/timeline.js";
import { duration, when } from "/ui/words.js";

const DEEPEST = 5; // levels that are fully indented; deeper ones tell their level
const SLIGHTLY = 20; // levels that are indented at all
const SPARE = 6; // rows kept on either side of those in sight
const NARROW = 640; // pixels up to which a row has two lines, as style.css says
const CHARACTER = 7.6; // pixels of an id's characters
const box = $("tree");
const rows = $("rows");
let root = null;
let nodes = [];
let limit = 0; // 0: as many as the server shows by itself
let visible = []; // places in nodes of the rows that are not folded away
let size = { width: 0, height: 0, row: 1 }; // pixels: of the box, 0 while it is hidden, and the height of a row
let active = 0; // place in visible
let selected = null;
const folded = new Set();
let inspect = () => {};

export function start(onInspect) {
  inspect = onInspect;
  timeline.start(render);
  box.addEventListener("scroll", render, { passive: true });
  new ResizeObserver(() => {
    const row = parseFloat(getComputedStyle(rows).getPropertyValue("--row"));
    size = { width: box.clientWidth, height: box.clientHeight, row };
    draw();
  }).observe(box);
  box.addEventListener("keydown", onKey);
  rows.addEventListener("click", (event) => {
    const place = Number(event.target.closest(".row")?.dataset.place ?? -1);
    if (place < 0) return;
    active = place;
    if (event.target.classList.contains("fold")) fold(place, !folded.has(at(place).id));
    else select(place);
  });
  $("more").addEventListener("click", () => {
    limit = Math.min(10_000, (limit || 2_000) * 2);
    refresh(true);
  });
}

const at = (place) => nodes[visible[place]];
const levelOf = (node) => node.level ?? 0;
export const settled = () => nodes.length > 0 && nodes.every((node) => node.completed !== undefined);
export const shownRoot = () => root;

/** Show another root. */
export async function open(id) {
  root = id;
  nodes = [];
  visible = [];
  rows.replaceChildren(); // a click must not meet a row of the tree before
  rows.style.height = 0; // so that it begins at the top, too
  limit = active = 0;
  selected = null;
  folded.clear();
  timeline.all();
  await refresh(true);
}

/** Fetch the tree again, unless nothing in it can change any more. */
export async function refresh(force = false) {
  if (root === null || (!force && settled())) return;
  const id = root;
  const tree = await request(`/ui/tree/${encodeURIComponent(id)}${limit ? `?limit=${limit}` : ""}`);
  if (id !== root) return;
  nodes = tree.nodes;
  $("graph").hidden = false;
  $("more").hidden = !tree.more || limit >= 10_000;
  $("graph-title").textContent = id;
  $("delete").hidden = tree.parent !== null;
  $("part-of").replaceChildren(...(tree.parent === null ? [] : ["part of ", link(tree.parent, follow)]));
  layOut();
}

let follow = () => {};
export const onFollow = (choose) => (follow = choose);

/** Leave the graph; `keep`: the promise may still come. */
export function clear(keep = false) {
  if (!keep) root = null;
  nodes = [];
  visible = [];
  rows.replaceChildren();
  $("graph").hidden = true;
}

/** Choose the row of a promise, if it is in this tree. */
export function reveal(id) {
  if (!nodes.some((node) => node.id === id)) return false;
  folded.clear();
  layOut();
  select(visible.findIndex((place) => nodes[place].id === id));
  return true;
}

const opens = (place) => levelOf(nodes[place + 1] ?? {}) > levelOf(nodes[place]);

function layOut() {
  visible = [];
  let hidden = Infinity; // level below which all is folded away
  nodes.forEach((node, place) => {
    const level = levelOf(node);
    if (level > hidden) return;
    hidden = folded.has(node.id) && opens(place) ? level : Infinity;
    visible.push(place);
  });
  active = Math.max(0, Math.min(active, visible.length - 1));
  box.setAttribute("aria-rowcount", visible.length + 1);
  summarise();
  tellCause();
  draw();
}

function draw() {
  fitNames();
  render();
}

const indent = (level) => Math.min(level, DEEPEST) + Math.max(0, Math.min(level, SLIGHTLY) - DEEPEST) / 7;
const whereabouts = (node) => (node.where === "sleeps" ? `sleeps until ${when(node.timeout, now())}` : node.where ?? "");
const shownId = (node) => (node.id.startsWith(`${root}.`) && root.length > 16 ? `…${node.id.slice(root.length + 1)}` : node.id);

/** Make the first columns as wide as what stands in them needs, but leave the rest its part. */
function fitNames() {
  let widest = 0;
  let least = 0; // for the ends of the ids
  let where = 0;
  for (const place of visible) {
    const node = nodes[place];
    const words = Math.min(30, calls(node).length + Math.min(16, (node.result ?? node.error ?? "").length));
    const before = indent(levelOf(node)) * 14 + (levelOf(node) > DEEPEST ? 40 : 0) + 64;
    const { length } = shownId(node);
    widest = Math.max(widest, before + (length + words) * CHARACTER);
    least = Math.max(least, before + Math.min(length, 14) * CHARACTER);
    where = Math.max(where, (node.where === "sleeps" ? 32 : (node.where ?? "").length) * 6.8);
  }
  const pixels = (name, size) => box.style.setProperty(name, `${Math.round(size)}px`);
  const { width } = size;
  const room = width - 120 - Math.max(150, width * 0.25); // beside the gaps, the times and the timeline
  where = Math.max(64, Math.min(where, width > NARROW ? Math.max(room * 0.36, room - least) : width * 0.55));
  pixels("--where", where);
  pixels("--name", Math.max(least, Math.min(widest, room - where)));
  pixels("--content", (visible.length + 1) * size.row + 2);
}

function summarise() {
  const counts = {};
  const workers = new Set();
  let again = 0;
  for (const node of nodes) {
    if (node.again) continue;
    counts[stateClass(node.state)] = (counts[stateClass(node.state)] ?? 0) + 1;
    for (const run of node.runs ?? []) workers.add(run.worker);
    again += Math.max(0, (node.attempts ?? 0) - 1);
  }
  const words = Object.entries(counts).map(([state, count]) => `${count} ${state === "timedout" ? "timed out" : state}`);
  if (workers.size) words.push(`${workers.size} ${workers.size === 1 ? "worker" : "workers"}`);
  if (again) words.push(`${again} taken over`);
  $("graph-summary").textContent = words.join(" · ");
}

/** Lead to the call that failed first below one that failed, or to those for which a pending one waits in the end. */
function tellCause() {
  const top = nodes[0];
  let label = "";
  let found = [];
  if (failed(top)) {
    label = "Failed: ";
    const earlier = nodes.filter((node) => failed(node) && node.completed <= top.completed);
    const first = Math.min(...earlier.map((node) => node.completed));
    found = earlier.filter((node) => node.completed === first).sort((one, other) => levelOf(other) - levelOf(one)).slice(0, 1);
    if (found[0] !== top) label = "Failed first: ";
  } else if (top.state === "PENDING") {
    label = "Now at: ";
    const busy = new Set(); // levels above the row that is looked at on which a promise has a pending call
    for (let place = nodes.length - 1; place >= 0; place--) {
      const level = levelOf(nodes[place]);
      const waits = busy.delete(level + 1);
      for (const deeper of busy) if (deeper > level + 1) busy.delete(deeper);
      if (nodes[place].state !== "PENDING") continue;
      busy.add(level);
      if (!waits && !nodes[place].again && place) found.push(nodes[place]);
    }
    found.reverse();
  }
  const key = JSON.stringify([label, root, found.slice(0, 3).map((node) => [node.id, node.where, node.error]), found.length]);
  if ($("cause").dataset.key === key) return;
  $("cause").dataset.key = key;
  const told = found.slice(0, 3).flatMap((node, place) => [place ? ", " : label, node === top ? "" : link(node.id, reveal), ` ${node.error ?? node.where ?? ""}`]);
  $("cause").replaceChildren(...told.map((one) => (typeof one === "string" ? h("span", {}, one) : one)), found.length > 3 ? ` and ${found.length - 3} more` : "");
  $("cause").className = failed(top) ? stateClass(top.state) : "muted";
  $("cause").hidden = !found.length || (found[0] === top && !top.error);
}

function fold(place, shut) {
  const node = at(place);
  if (shut) folded.add(node.id);
  else folded.delete(node.id);
  layOut();
}

function select(place) {
  active = place;
  selected = at(place).id;
  scrollTo(place);
  render();
  inspect(selected);
}

/** Forget the chosen row; its details have been closed. */
export function deselect() {
  selected = null;
  render();
  box.focus();
}

function scrollTo(place) {
  const top = place * size.row;
  const least = top + 2 * size.row - box.clientHeight; // with the row of the head
  if (top < box.scrollTop) box.scrollTop = top;
  else if (least > box.scrollTop) box.scrollTop = least;
}

function onKey(event) {
  if (!visible.length || event.ctrlKey || event.metaKey || event.altKey) return;
  const page = Math.max(1, Math.floor(size.height / size.row) - 2);
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
  if (step) active = Math.max(0, Math.min(visible.length - 1, active + step));
  else if (event.shiftKey && event.key === "ArrowRight") timeline.pan(0.25);
  else if (event.shiftKey && event.key === "ArrowLeft") timeline.pan(-0.25);
  else if (event.key === "+") timeline.zoom(0.5);
  else if (event.key === "-") timeline.zoom(2);
  else if (event.key === "0") timeline.all();
  else if (event.key === "c") copy(at(active).id, "the id");
  else if (event.key === "ArrowRight" && opens(visible[active])) fold(active, false);
  else if (event.key === "ArrowLeft" && opens(visible[active]) && !folded.has(at(active).id)) fold(active, true);
  else if (event.key === "ArrowLeft") active = Math.max(0, visible.findLastIndex((place, index) => index < active && levelOf(nodes[place]) < levelOf(at(active))));
  else if (event.key === "Enter" || event.key === " ") select(active);
  else return;
  event.preventDefault();
  scrollTo(active);
  render();
}

/** Draw the rows in sight, in the elements that are there. */
export function render() {
  if (!nodes.length || !size.width) return;
  const height = size.row;
  const top = box.scrollTop;
  const first = Math.max(0, Math.floor(top / height) - SPARE);
  const last = Math.min(visible.length, Math.ceil((top + size.height) / height) + SPARE);
  const running = nodes.some((node) => node.completed === undefined);
  const end = running ? now() : nodes.reduce((latest, node) => Math.max(latest, node.completed), nodes[0].created);
  timeline.draw(nodes[0].created, end);
  rows.style.height = `${visible.length * height}px`;
  while (rows.children.length > Math.max(0, last - first)) rows.lastElementChild.remove();
  for (let place = first; place < last; place++) {
    const row = rows.children[place - first] ?? rows.appendChild(newRow());
    fill(row, place, height);
  }
  box.setAttribute("aria-activedescendant", `row-${active}`);
}

function newRow() {
  const fold = h("button", { type: "button", class: "fold", tabindex: "-1", "aria-hidden": "true" });
  return h("div", { class: "row", role: "row" },
    h("span", { class: "name", role: "gridcell" }, fold, h("span", { class: "shape" }), h("span", { class: "level" }), h("span", { class: "id" }), h("span", { class: "call" }), h("span", { class: "tag" }), h("span", { class: "tag taken" })),
    h("span", { class: "where", role: "gridcell" }, h("span"), h("span")),
    h("span", { class: "time", role: "gridcell" }),
    h("span", { class: "bar", role: "gridcell" }));
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

function fill(row, place, height) {
  const node = at(place);
  const level = levelOf(node);
  const [name, where, time, bar] = row.children;
  const [foldButton, shape, depth, id, call, note, taken] = name.children;
  row.id = `row-${place}`;
  row.dataset.place = place;
  row.dataset.id = node.id;
  row.style.top = `${place * height}px`;
  row.setAttribute("aria-level", level + 1);
  row.setAttribute("aria-rowindex", place + 2);
  row.setAttribute("aria-selected", node.id === selected);
  row.classList.toggle("active", place === active);
  const closed = folded.has(node.id);
  if (opens(visible[place])) row.setAttribute("aria-expanded", !closed);
  else row.removeAttribute("aria-expanded");
  foldButton.className = `fold${opens(visible[place]) ? (closed ? " closed" : "") : " none"}`;
  name.style.paddingLeft = `calc(var(--indent) * ${indent(level)})`;
  if (shape.dataset.state !== node.state) {
    shape.dataset.state = node.state;
    shape.replaceChildren(...stateIcon(node.state));
  }
  put(depth, level > DEEPEST ? String(level) : "");
  putId(id, node.id, shownId(node));
  put(call, [calls(node), node.error || (node.result ? `→ ${node.result}` : "")].filter(Boolean).join(" "));
  call.className = `call ${node.error ? stateClass(node.state) : "muted"}`;
  put(note, node.again ? "shown above" : node.shared ? "shared" : "");
  put(taken, node.attempts > 1 ? `${node.attempts} attempts` : "");
  const told = whereabouts(node);
  const [, group, member] = /^(.*?)([/].*)?$/s.exec(told);
  put(where.children[0], group);
  put(where.children[1], member ?? ""); // is not cut off where there is little room
  where.title = told;
  name.title = [node.id, calls(node), node.error].filter(Boolean).join("\n");
  put(time, duration((node.completed ?? now()) - node.created));
  timeline.drawBar(bar, node);
}
