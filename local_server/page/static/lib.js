// What all parts of the page use: elements, icons, times, requests. Text enters the document as text only.

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

/** Make the shape of a state, with its name for those who do not see it. */
export function stateIcon(state) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", `state ${stateClass(state)}`);
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#state-${stateClass(state)}`);
  svg.append(use);
  return [svg, h("span", { class: "visually-hidden" }, stateText(state))];
}

/** Return the class that colours a worker, the same everywhere. */
export function workerClass(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) >>> 0;
  return `w${sum % 8}`;
}

/** Shorten "group/id" whose id is a UUID, as the server does. */
export const short = (worker) =>
  worker.replace(/([0-9a-f]{8})-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/, "$1");

let offset = 0; // ms by which the server's clock is ahead of ours
export const now = () => Date.now() + offset;

export function duration(ms) {
  if (ms < 0) ms = 0;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} m ${Math.floor((ms % 60_000) / 1000)} s`;
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} m`;
  return `${Math.floor(ms / 86_400_000)} d ${Math.floor((ms % 86_400_000) / 3_600_000)} h`;
}

export function moment(ms) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return String(ms); // a time that no calendar has
  const local = new Date(ms - date.getTimezoneOffset() * 60_000);
  return Number.isNaN(local.getTime()) ? String(ms) : local.toISOString().replace("T", " ").replace("Z", "");
}

export const calls = (node) => (node.func ? `${node.func}(${node.args ?? ""})` : node.kind === "sleep" ? "sleep" : node.kind === "local" ? "local call" : "");

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
