// The list of roots: search, state, time, pages, and which one is chosen. What is asked for stands in the address, too.

import { $, calls, h, now, putId, request, stateClass, stateIcon } from "/ui/lib.js";
import { ago, duration, grouped, moment } from "/ui/words.js";

const list = $("root-list");
const form = $("search").form;
const SOON = 300; // ms until the address is written and what follows is counted, so that nobody who types waits for it
const EVERY = 2000; // ms between two counts of the same
let trail = [0]; // where the shown page and those before it begin; 0: at the newest
let page = { roots: [], below: 0 }; // the last answer
let query; // and what was asked for
let shown = [];
let asked = 0;
let address; // timer
let chosen = null;
let choose = () => {};

export function start(onChoose) {
  choose = onChoose;
  let pause;
  readAddress();
  $("search").addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(fromNewest, 80);
  });
  form.addEventListener("change", (event) => event.target.id !== "search" && fromNewest());
  form.addEventListener("submit", (event) => event.preventDefault());
  $("older").addEventListener("click", () => turn(() => trail.push(page.below)));
  $("newer").addEventListener("click", () => turn(() => trail.pop()));
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const buttons = [...list.querySelectorAll("button")];
    buttons[buttons.indexOf(document.activeElement) + step]?.focus();
    event.preventDefault();
  });
}

const fields = () => ({ q: form.q.value.trim(), state: form.state.value, last: form.last.value, size: form.size.value });
const plain = { q: "", state: "", last: "", size: "50" };

function readAddress() {
  const asked = new URLSearchParams(location.search);
  for (const name of Object.keys(plain)) {
    if (!asked.has(name)) continue;
    form[name].value = asked.get(name);
    if (form[name].value !== asked.get(name)) form[name].value = plain[name]; // no choice of ours
  }
}

function writeAddress() {
  const set = Object.entries(fields()).filter(([name, value]) => value !== plain[name]);
  const query = new URLSearchParams(set).toString();
  history.replaceState(null, "", `${location.pathname}${query && `?${query}`}${location.hash}`);
}

function fromNewest() {
  turn(() => (trail = [0]));
  clearTimeout(address);
  address = setTimeout(writeAddress, SOON);
}

/** Show all runs again. */
export function forget() {
  for (const [name, value] of Object.entries(plain)) if (name !== "size") form[name].value = value;
  fromNewest();
}

async function turn(change) {
  change();
  list.scrollTop = 0; // now, while nothing has to be laid out for it
  await refresh().catch((error) => ($("root-note").textContent = error.message));
}

/** Fetch the shown page again. */
export async function refresh() {
  const ask = ++asked;
  const below = trail.at(-1);
  const { q, state, last, size } = fields();
  const wanted = new URLSearchParams({ q, state, limit: size });
  if (last) wanted.set("since", Math.floor(now() - Number(last) * 1000));
  if (below) wanted.set("below", below);
  const answer = await request(`/ui/roots?${wanted}`);
  if (ask !== asked) return; // a newer question has been asked meanwhile
  page = answer;
  query = wanted;
  shown = page.exact ? [page.exact, ...page.roots] : page.roots;
  $("older").disabled = !(page.below && page.roots.length);
  $("newer").disabled = trail.length === 1;
  $("root-note").textContent = page.roots.length ? told()
    : shown.length ? "" : filtering() && !below ? "No run fits." : below ? "No older runs." : "None yet.";
  render();
  if (page.below) countSoon();
}

let counted = {}; // {key, count, more}: how many follow the shown page
let due = {}; // {key, timer}: the next count

/** Say which of how many runs are shown, as far as they are counted. */
function told() {
  const before = (trail.length - 1) * Number(query.get("limit"));
  const number = (count, about = 1) => grouped(Math.floor((before + count) / about) * about);
  const follow = !page.below ? { count: 0 } : counted.key === keyOf() ? counted : null;
  const total = follow && page.roots.length + follow.count;
  const place = page.below || before ? `${number(1)} to ${number(page.roots.length)}` : "";
  return place + (follow ? `${place && " of "}${follow.more ? `${number(total, before + total < 1000 ? 1 : 1000)} or more` : number(total)} ${before + total === 1 ? "run" : "runs"}` : "");
}

const keyOf = () => ["q", "state", "limit"].map((name) => query.get(name)).join("\n") + form.last.value + trail.length;

/** Count what follows the shown page, now and then; the list does not wait for it. */
function countSoon() {
  const key = keyOf();
  if (due.key === key) return;
  clearTimeout(due.timer);
  due = { key, timer: setTimeout(() => count(key).catch(() => {}), counted.key === key ? EVERY : SOON) };
}

async function count(key) {
  due = {};
  if (key !== keyOf()) return; // nobody asks for it any more
  query.set("below", page.below);
  const found = await request(`/ui/count?${query}`);
  counted = { key, ...found };
  if (key === keyOf() && page.roots.length) $("root-note").textContent = told();
}

/** The newest root, if the list shows it. */
export const newest = () => (trail.length === 1 && shown.length ? shown[0].id : null);
export const filtering = () => Boolean(form.q.value.trim() || form.state.value || form.last.value || trail.length > 1);

export function mark(id) {
  chosen = id;
  for (const item of list.children) setCurrent(item.firstElementChild, item.dataset.id === id);
}

function setCurrent(button, current) {
  if (current) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
}

/** Bring the list up to date; items stay as they are where nothing changed, so that focus and clicks are kept. */
function render() {
  const before = new Map([...list.children].map((item) => [item.dataset.id, item]));
  shown.forEach((node, place) => {
    const key = JSON.stringify(node);
    let item = before.get(node.id);
    before.delete(node.id);
    if (!item) {
      item = h("li", {}, h("button", { type: "button", onclick: () => choose(item.dataset.id) }));
      item.dataset.id = node.id;
    }
    if (item.dataset.key !== key) {
      item.dataset.key = key;
      fill(item.firstElementChild, node);
    }
    setCurrent(item.firstElementChild, node.id === chosen);
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
  });
  for (const item of before.values()) item.remove();
  tick();
}

function fill(button, node) {
  const [shape, text] = stateIcon(node.state);
  const id = h("span", { class: "id", title: node.id });
  putId(id, node.id);
  button.replaceChildren(
    shape,
    id,
    h("span", { class: `took ${stateClass(node.state)}` }),
    h("span", { class: node.error ? `call ${stateClass(node.state)}` : "call muted" }, node.error || calls(node)),
    h("time", { title: `started ${moment(node.created)}` }),
    text,
  );
}

/** Count the time of what runs, and since when. */
export function tick() {
  shown.forEach((node, place) => {
    const item = list.children[place];
    put(item?.querySelector(".took"), duration((node.completed ?? now()) - node.created));
    put(item?.querySelector("time"), ago(now() - node.created));
  });
}

function put(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}
