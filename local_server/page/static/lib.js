// What all parts of the page use: elements, icons, the server's time, requests. Text enters the document as text only.

import { moment, when } from "/ui/words.js";

export const $ = (id) => document.getElementById(id);

/** Make an element: h("p", {class: "muted"}, "text", otherElement). Children that are null are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const STATES = {
  PENDING: ["pending", "pending"],
  RESOLVED: ["resolved", "resolved"],
  REJECTED: ["rejected", "rejected"],
  REJECTED_CANCELED: ["canceled", "canceled"],
  REJECTED_TIMEDOUT: ["timedout", "timed out"],
};
export const stateClass = (state) => STATES[state]?.[0] ?? "pending";
export const stateText = (state) => STATES[state]?.[1] ?? state;
export const failed = (node) => node.state !== "PENDING" && node.state !== "RESOLVED";

/** Make one of the shapes that index.html defines. */
export function icon(name, kind = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", kind);
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

/** Make the shape of a state, with its name for those who do not see it. */
export const stateIcon = (state) => [icon(`state-${stateClass(state)}`, `state ${stateClass(state)}`), h("span", { class: "visually-hidden" }, stateText(state))];

/** Return the class that colours a worker, the same everywhere. */
export function workerClass(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) >>> 0;
  return `w${sum % 8}`;
}

/** Shorten "group/id" whose id is a UUID, as the server does. */
export const short = (worker) =>
  worker.replace(/([0-9a-f]{8})-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/, "$1");

/** Write an id into an element so that, where there is no room, its middle is left out: its end tells it apart. */
export function putId(element, id, shown = id) {
  if (element.dataset.shown === shown) return;
  element.dataset.shown = shown;
  const characters = [...shown];
  const long = characters.length > 16;
  element.classList.toggle("long", long);
  if (!long) return void (element.textContent = shown);
  const part = (kind, ...places) => h("span", { class: kind }, characters.slice(...places).join(""));
  element.replaceChildren(part("head", 0, -10), part("tail", -10));
}

/** Make a button that leads to a promise. */
export const link = (id, choose) => h("button", { type: "button", class: "link", onclick: () => choose(id) }, id);

/** Make a button that copies what `text` returns. */
export function copier(what, text) {
  const button = h("button", { type: "button", class: "copy", title: `Copy ${what}`, "aria-label": `Copy ${what}`, "data-name": `copy ${what}` }, icon("copy"));
  button.addEventListener("click", () => copy(text(), what));
  return button;
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.body.appendChild(h("textarea", { class: "visually-hidden", "aria-hidden": "true" })); // on plain http
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  $("said").textContent = `Copied ${what}`;
  clearTimeout(copy.timer);
  copy.timer = setTimeout(() => ($("said").textContent = ""), 2000);
}

let offset = 0; // ms by which the server's clock is ahead of ours
export const now = () => Date.now() + offset;

/** Make the name of a moment, which counts down until it has come. */
export const until = (ms) => h("time", { "data-until": ms, title: moment(ms) }, when(ms, now()));

export function countDown() {
  for (const element of document.querySelectorAll("[data-until]")) {
    const text = when(Number(element.dataset.until), now());
    if (element.textContent !== text) element.textContent = text;
  }
}

export const calls = (node) => (node.func ? `${node.func}(${node.args ?? ""})` : { sleep: "a sleep", local: "a local call" }[node.kind] ?? "");

/** Ask the server; an error carries the status and what the server says. */
export async function request(path, options = {}) {
  const response = await fetch(path, { cache: "no-store", ...options });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const told = body.error;
    const text = told ? [told.message, ...told.details.map((one) => one.message)].join(": ") : response.statusText;
    throw Object.assign(new Error(text), { status: response.status });
  }
  if (body.now) offset = body.now - Date.now();
  return body;
}
