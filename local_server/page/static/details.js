// Everything about one promise: why it waits or failed, what is stored, and what can be done to it.

import * as actions from "/ui/actions.js";
import { $, calls, copier, failed, h, link, now, request, short, stateClass, stateIcon, stateText, until, workerClass } from "/ui/lib.js";
import { duration, grouped, moment, pretty } from "/ui/words.js";

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

function draw({ node, why, by_hand: byHand, error, param, value, tags, keys, parents, callbacks, tasks }) {
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  const open = [...box.querySelectorAll("details")].map((one) => one.open);
  const pending = node.state === "PENDING";
  const entries = [
    ["State", h("span", { class: stateClass(node.state) }, stateIcon(node.state)[0], ` ${stateText(node.state)}`)],
    ["Function", node.func ? h("code", {}, calls(node)) : calls(node)],
    ["Parameters", stored(param, "the parameters")],
    [failed(node) ? "Stored error" : "Value", pending && !value.size ? null : stored(value, "the value", failed(node))],
    ["Runs", runs(node)],
    ["Created", moment(node.created)],
    ["Completed", node.completed === undefined ? "" : `${moment(node.completed)}, after ${duration(node.completed - node.created)}`],
    ["Times out", pending && node.timeout !== undefined && node.kind !== "sleep" ? moment(node.timeout) : ""],
    ["Asked for by", items(parents, (id) => link(id, choose))],
    ["Waiting for it", items(callbacks, (one) => [one.kind === "resume" ? link(one.root, choose) : "a client", ` at ${one.recv}`])],
    ["Tasks", items(tasks, (one) => [h("code", {}, one.id), ` ${one.state.toLowerCase()}, counter ${one.counter}`, one.worker ? `, ${short(one.worker)}` : `, for ${one.recv}`])],
    ["Tags", pairs(tags)],
    ["Idempotency", pairs(Object.fromEntries(Object.entries(keys).filter(([, key]) => key !== null)))],
  ];
  const button = (name, kind, act, text) => h("button", { type: "button", class: kind, "data-name": name, onclick: () => act(node.id) }, text);
  box.replaceChildren(
    h("div", { class: "top" },
      h("span", { class: "named" }, h("h2", { id: "details-title" }, node.id), copier("the id", () => node.id)),
      h("span", { class: "buttons" },
        byHand ? button("resolve", "primary", actions.resolve, "Resolve promise") : null,
        pending ? button("cancel", "danger", actions.cancel, "Cancel promise") : null,
        button("close", "", hide, "Close"))),
    headline(node, why, error, value.large) ?? "",
    h("dl", {}, entries.filter(([, shown]) => shown).flatMap(([name, shown]) => [h("dt", {}, name), h("dd", {}, shown)])),
  );
  box.querySelectorAll("details").forEach((one, place) => (one.open = open[place] ?? false));
  if (focused) (box.querySelector(`[data-name="${focused}"]`) ?? box.querySelector("[data-name=close]")).focus();
}

const items = (all, show) => (all.length ? h("ul", {}, all.map((one) => h("li", {}, show(one)))) : null);
const pairs = (map) => items(Object.entries(map), ([name, text]) => h("code", {}, `${name} = ${text}`));

/** Say first why it waits, or why it failed. */
function headline(node, why, error, large) {
  if (failed(node)) {
    const said = { REJECTED_CANCELED: "It was canceled.", REJECTED_TIMEDOUT: `Nobody completed it in time: it had ${duration(node.timeout - node.created)}.` }[node.state];
    const known = [error.type && h("strong", {}, error.type), error.type && error.message ? ": " : "", error.message];
    return h("p", { id: "why", class: `failed ${stateClass(node.state)}` }, error.type || error.message ? known : said ?? (large ? "Its error is too large to be shown here." : "It was rejected with nothing that says why."));
  }
  if (!why.length) return null;
  return h("ul", { id: "why" }, why.map((reason) => h("li", {},
    reason.text,
    (reason.promises ?? []).flatMap((id, place) => [place ? ", " : " ", link(id, choose)]),
    reason.more ? " and more" : "",
    reason.at === undefined ? "" : [" ", until(reason.at)],
  )));
}

/** Show a parameter or value as it is stored, its JSON in lines, its headers below. */
function stored(one, what, optional = false) {
  if (one.large) return `${grouped(one.size)} bytes, too many to show here: GET /promises/{id} has them`;
  const headers = Object.entries(one.headers);
  if (!one.size && !headers.length) return optional ? null : h("span", { class: "muted" }, "none");
  return [
    !one.size ? h("span", { class: "muted" }, "none")
      : one.text === null ? `${one.size} bytes, not text`
      : h("div", { class: "stored" }, h("pre", { tabindex: "0" }, pretty(one.text)), copier(what, () => one.text)),
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
