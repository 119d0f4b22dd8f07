// The call graph of one promise as a tree with time bars. Only the rows in sight are in the document.

import { $, calls, duration, h, now, request, short, stateClass, stateIcon, workerClass } from "/ui/lib.js";

const DEEPEST = 5; // levels that are fully indented; deeper ones tell their level
const SLIGHTLY = 20; // levels that are indented at all
const SPARE = 6; // rows kept on either side of those in sight
const box = $("tree");
const rows = $("rows");
let root = null;
let nodes = [];
let limit = 0; // 0: as many as the server shows by itself
let visible = []; // places in nodes of the rows that are not folded away
let active = 0; // place in visible
let selected = null;
const folded = new Set();
let inspect = () => {};

export function start(onInspect) {
  inspect = onInspect;
  box.addEventListener("scroll", render, { passive: true });
  new ResizeObserver(render).observe(box);
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

export const at = (place) => nodes[visible[place]];
export const settled = () => nodes.length > 0 && nodes.every((node) => node.completed !== undefined);
export const shownRoot = () => root;

/** Show another root. */
export async function open(id) {
  root = id;
  nodes = [];
  visible = [];
  rows.replaceChildren(); // a click must not meet a row of the tree before
  limit = active = 0;
  folded.clear();
  box.scrollTop = 0;
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
  layOut();
}

/** Leave the graph: there is none to show. */
export function clear() {
  root = null;
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

const opens = (place) => (nodes[place + 1]?.level ?? 0) > (nodes[place].level ?? 0);

function layOut() {
  visible = [];
  let hidden = Infinity; // level below which all is folded away
  nodes.forEach((node, place) => {
    const level = node.level ?? 0;
    if (level > hidden) return;
    hidden = folded.has(node.id) && opens(place) ? level : Infinity;
    visible.push(place);
  });
  active = Math.min(active, visible.length - 1);
  box.setAttribute("aria-rowcount", visible.length + 1);
  summarise();
  render();
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

const rowHeight = () => parseFloat(getComputedStyle(box).getPropertyValue("--row"));

function scrollTo(place) {
  const height = rowHeight();
  const top = place * height;
  const head = box.firstElementChild.offsetHeight;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + height + head > box.scrollTop + box.clientHeight) box.scrollTop = top + height + head - box.clientHeight;
}

function onKey(event) {
  const page = Math.max(1, Math.floor(box.clientHeight / rowHeight()) - 2);
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
  if (!visible.length) return;
  if (step) active = Math.max(0, Math.min(visible.length - 1, active + step));
  else if (event.key === "ArrowRight" && opens(visible[active])) fold(active, false);
  else if (event.key === "ArrowLeft" && opens(visible[active]) && !folded.has(at(active).id)) fold(active, true);
  else if (event.key === "ArrowLeft") active = Math.max(0, visible.findLastIndex((place, index) => index < active && (nodes[place].level ?? 0) < (at(active).level ?? 0)));
  else if (event.key === "Enter" || event.key === " ") select(active);
  else return;
  event.preventDefault();
  scrollTo(active);
  render();
}

/** Draw the rows in sight, in the elements that are there. */
export function render() {
  if (!nodes.length) return;
  const height = rowHeight();
  const first = Math.max(0, Math.floor(box.scrollTop / height) - SPARE);
  const last = Math.min(visible.length, Math.ceil((box.scrollTop + box.clientHeight) / height) + SPARE);
  const start = nodes[0].created;
  const running = nodes.some((node) => node.completed === undefined);
  const end = running ? now() : nodes.reduce((latest, node) => Math.max(latest, node.completed), start);
  const scale = { start, span: Math.max(end - start, 1), end };
  rows.style.height = `${visible.length * height}px`;
  while (rows.children.length > Math.max(0, last - first)) rows.lastElementChild.remove();
  for (let place = first; place < last; place++) {
    const row = rows.children[place - first] ?? rows.appendChild(newRow());
    fill(row, place, height, scale);
  }
  box.setAttribute("aria-activedescendant", `row-${active}`);
  drawAxis(scale);
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

function fill(row, place, height, scale) {
  const node = at(place);
  const level = node.level ?? 0;
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
  name.style.paddingLeft = `calc(var(--indent) * ${Math.min(level, DEEPEST) + Math.max(0, Math.min(level, SLIGHTLY) - DEEPEST) / 7})`;
  if (shape.dataset.state !== node.state) {
    shape.dataset.state = node.state;
    shape.replaceChildren(...stateIcon(node.state));
  }
  put(depth, level > DEEPEST ? String(level) : "");
  put(id, node.id.startsWith(`${root}.`) && root.length > 8 ? `…${node.id.slice(root.length)}` : node.id);
  put(call, [calls(node), node.result ? `→ ${node.result}` : ""].filter(Boolean).join(" "));
  put(note, node.again ? "shown above" : node.shared ? "shared" : "");
  put(taken, node.attempts > 1 ? `${node.attempts} attempts` : "");
  const [, group, member] = /^(.*?)([/].*)?$/s.exec(node.where ?? "");
  put(where.children[0], group);
  put(where.children[1], member ?? ""); // is not cut off where there is little room
  where.title = node.where ?? "";
  name.title = `${node.id}\n${calls(node)}`;
  put(time, duration((node.completed ?? now()) - node.created));
  drawBar(bar, node, scale);
}

function drawBar(bar, node, { start, span, end }) {
  const left = (at) => Math.max(0, Math.min(100, ((at - start) / span) * 100));
  const strip = (from, to, kind, title) => {
    const part = h("i", { class: kind, title });
    part.style.left = `${left(from)}%`;
    part.style.width = `${Math.max(0, left(to) - left(from))}%`;
    return part;
  };
  const parts = [];
  const done = node.completed;
  if (done !== undefined && done < start) {
    parts.push(h("i", { class: "before", title: "stored before this run began" }));
  } else {
    parts.push(strip(node.created, done ?? end, done === undefined ? "life open" : "life", ""));
    const runs = node.runs ?? [];
    runs.forEach((run, index) => {
      const next = runs[index + 1];
      const until = run.end ?? end;
      const title = `${short(run.worker)}: ${duration(until - run.start)}${run.lost ? `, lost: ${run.lost}` : ""}`;
      parts.push(strip(run.start, until, `${run.lost ? "run lost" : "run"} ${workerClass(run.worker)}`, title));
      if (run.lost) parts.push(strip(until, next?.start ?? done ?? end, "gap", `taken over after ${duration((next?.start ?? end) - until)}`));
    });
  }
  bar.className = `bar ${stateClass(node.state)}`;
  bar.replaceChildren(...parts);
}

function drawAxis({ span }) {
  let step = 10 ** Math.floor(Math.log10(span / 2));
  for (const factor of [5, 2]) if (span / (step * factor) >= 2) { step *= factor; break; }
  step = Math.max(step, 1);
  const labels = [];
  for (let tick = 0; tick <= span * 0.95; tick += step) {
    const label = h("span", {}, tick ? duration(tick).replace(/\.?0+ s/, " s") : "0");
    label.style.left = `${(tick / span) * 100}%`;
    labels.push(label);
  }
  $("axis").replaceChildren(...labels);
}
