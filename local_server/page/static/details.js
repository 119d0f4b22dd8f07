// Everything about one promise, and its one action: cancel it.

import { $, calls, duration, h, moment, now, request, short, stateClass, stateIcon, stateText, workerClass } from "/ui/lib.js";

const box = $("details");
let shown = null; // id
let last = ""; // what is drawn
let choose = () => {};
let close = () => {};

export function start(onChoose, onClose) {
  choose = onChoose;
  close = onClose;
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
}

export async function open(id) {
  shown = id;
  await refresh(true);
  box.scrollTop = 0;
}

export function hide() {
  if (shown === null) return;
  shown = null;
  box.hidden = true;
  close();
}

/** Fetch the promise again, unless it is completed. */
export async function refresh(force = false) {
  if (shown === null || (!force && box.dataset.done === "true")) return;
  const id = shown;
  const view = await request(`/ui/promise/${encodeURIComponent(id)}`);
  if (id !== shown) return;
  box.dataset.done = String(view.node.state !== "PENDING");
  delete view.now;
  const key = JSON.stringify(view);
  box.hidden = false;
  if (key === last) return;
  last = key;
  draw(view);
}

function draw({ node, param, value, tags, keys, parents, callbacks, tasks }) {
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  const open = [...box.querySelectorAll("details")].map((one) => one.open);
  const entries = [
    ["State", h("span", { class: stateClass(node.state) }, stateIcon(node.state)[0], ` ${stateText(node.state)}`)],
    ["Function", node.func ? h("code", {}, calls(node)) : calls(node)],
    ["Where", node.state === "PENDING" ? node.where : ""],
    ["Parameters", stored(param)],
    [node.state === "RESOLVED" || node.state === "PENDING" ? "Value" : "Error", stored(value, node.state !== "RESOLVED")],
    ["Runs", runs(node)],
    ["Created", moment(node.created)],
    ["Completed", node.completed === undefined ? "" : `${moment(node.completed)}, after ${duration(node.completed - node.created)}`],
    ["Times out", node.state === "PENDING" && node.timeout !== undefined ? moment(node.timeout) : ""],
    ["Asked for by", items(parents, link)],
    ["Waiting for it", items(callbacks, (one) => [one.kind === "resume" ? link(one.root) : "a client", ` at ${one.recv}`])],
    ["Tasks", items(tasks, (one) => [h("code", {}, one.id), ` ${one.state.toLowerCase()}, counter ${one.counter}`, one.worker ? `, ${short(one.worker)}` : `, for ${one.recv}`])],
    ["Tags", pairs(tags)],
    ["Idempotency", pairs(Object.fromEntries(Object.entries(keys).filter(([, key]) => key !== null)))],
  ];
  box.replaceChildren(
    h("div", { class: "top" },
      h("h2", { id: "details-title" }, node.id),
      node.state === "PENDING" ? h("button", { type: "button", class: "danger", "data-name": "cancel", onclick: () => cancel(node.id) }, "Cancel promise") : null,
      h("button", { type: "button", "data-name": "close", onclick: hide }, "Close")),
    h("p", { class: "error", role: "alert" }),
    h("dl", {}, entries.filter(([, shown]) => shown).flatMap(([name, shown]) => [h("dt", {}, name), h("dd", {}, shown)])),
  );
  box.querySelectorAll("details").forEach((one, place) => (one.open = open[place] ?? false));
  if (focused) (box.querySelector(`[data-name=${focused}]`) ?? box.querySelector("[data-name=close]")).focus();
}

const link = (id) => h("button", { type: "button", class: "link", onclick: () => choose(id) }, id);
const items = (all, show) => (all.length ? h("ul", {}, all.map((one) => h("li", {}, show(one)))) : null);
const pairs = (map) => items(Object.entries(map), ([name, text]) => h("code", {}, `${name} = ${text}`));

/** Show a parameter or value as it is stored: its data as text, its headers below. */
function stored(one, optional = false) {
  if (one.large) return `${one.size.toLocaleString()} bytes, too many to show here: GET /promises/{id} has them`;
  const headers = Object.entries(one.headers);
  if (!one.size && !headers.length) return optional ? null : h("span", { class: "muted" }, "none");
  return [
    one.size ? h("pre", { tabindex: "0" }, one.text ?? `${one.size} bytes, not text`) : h("span", { class: "muted" }, "none"),
    headers.length ? h("details", {}, h("summary", {}, "headers"), h("pre", { tabindex: "0" }, headers.map(([name, text]) => `${name}: ${text}`).join("\n"))) : null,
  ];
}

function runs(node) {
  return items(node.runs ?? [], (run) => {
    const place = node.runs.indexOf(run);
    const before = node.runs[place - 1];
    const after = before?.lost ? `, taken over after ${duration(run.start - before.end)}` : "";
    const length = run.end === undefined ? `for ${duration(now() - run.start)} so far` : `for ${duration(run.end - run.start)}`;
    return [h("span", { class: `dot ${workerClass(run.worker)}`, "aria-hidden": "true" }), ` ${short(run.worker)} ${length}${after}`, run.lost ? h("span", { class: "error" }, ` lost: ${run.lost}`) : null];
  });
}

async function cancel(id) {
  const dialog = $("confirm");
  $("confirm-title").textContent = `Cancel ${id}?`;
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "cancel") return;
  try {
    await request(`/promises/${encodeURIComponent(id)}`, { method: "PATCH", body: JSON.stringify({ state: "REJECTED_CANCELED" }) });
    if (shown === id) await refresh(true);
  } catch (error) {
    if (shown === id) box.querySelector("[role=alert]").textContent = error.message;
  }
}
