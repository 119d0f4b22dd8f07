// The list of roots: search, state, pages, and which one is chosen.

import { $, calls, duration, h, now, request, stateClass, stateIcon } from "/ui/lib.js";

const list = $("root-list");
let trail = [0]; // where the shown page and those before it begin; 0: at the newest
let older = 0;
let shown = [];
let asked = 0;
let chosen = null;
let choose = () => {};

export function start(onChoose) {
  choose = onChoose;
  let pause;
  $("search").addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(fromNewest, 80);
  });
  $("state").addEventListener("change", fromNewest);
  $("search").form.addEventListener("submit", (event) => event.preventDefault());
  $("older").addEventListener("click", () => turn(() => trail.push(older)));
  $("newer").addEventListener("click", () => turn(() => trail.pop()));
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const buttons = [...list.querySelectorAll("button")];
    buttons[buttons.indexOf(document.activeElement) + step]?.focus();
    event.preventDefault();
  });
}

const fromNewest = () => turn(() => (trail = [0]));

async function turn(change) {
  change();
  await refresh().catch((error) => ($("root-note").textContent = error.message));
  list.scrollTop = 0;
}

/** Fetch the shown page again; returns whether anything is stored that fits the filter. */
export async function refresh() {
  const ask = ++asked;
  const below = trail.at(-1);
  const query = new URLSearchParams({ q: $("search").value.trim(), state: $("state").value });
  if (below) query.set("below", below);
  const page = await request(`/ui/roots?${query}`);
  if (ask !== asked) return; // a newer question has been asked meanwhile
  older = page.below;
  shown = page.exact ? [page.exact, ...page.roots] : page.roots;
  $("older").disabled = !(older && page.roots.length);
  $("newer").disabled = trail.length === 1;
  const filtered = query.get("q") || query.get("state");
  $("root-note").textContent = shown.length ? "" : filtered ? "No run fits." : below ? "No older runs." : "None yet.";
  render();
}

/** The newest root, if the list shows it. */
export const newest = () => (trail.length === 1 && shown.length ? shown[0].id : null);
export const filtering = () => Boolean($("search").value.trim() || $("state").value || trail.length > 1);

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
  const [icon, text] = stateIcon(node.state);
  button.title = node.id;
  button.replaceChildren(
    icon,
    h("span", { class: "id" }, node.id),
    h("span", { class: `when ${stateClass(node.state)}` }),
    h("span", { class: "call" }, calls(node)),
    text,
  );
}

/** Count the time of what runs. */
export function tick() {
  shown.forEach((node, place) => {
    const when = list.children[place]?.querySelector(".when");
    const text = duration((node.completed ?? now()) - node.created);
    if (when && when.textContent !== text) when.textContent = text;
  });
}
