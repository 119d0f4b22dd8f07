// Groups and their workers, what each holds, who has gone, what waits for somebody to come; the servers, if several.

import { $, h, link, now, request, short, workerClass } from "/ui/lib.js";
import { ago } from "/ui/words.js";

let view = { groups: [], gone: [], waiting: [], servers: [], more: 0 };
let choose = () => {};
const fresh = new Map(); // what each part shows, so that it is built anew only when that changes

export function start(onChoose) {
  choose = onChoose;
}

export async function refresh() {
  view = await request("/ui/workers");
  put("waiting", view.waiting.map((line) => line.text), (text) => h("p", {}, text));
  put("servers", view.servers, (one) => h("p", { class: "hint" }, `${one.name} ${one.serves ? "serves" : "stands by"}`));
  put("groups", [...view.groups, view.more], group);
  tick();
}

/** Let those who have gone fade from the list. */
export function tick() {
  const lately = view.gone
    .filter((one) => now() - one.at < 60_000)
    .map((one) => ({ ...one, ago: ago(now() - one.at) }));
  put("gone", lately.length ? [lately] : [], lost);
}

function put(id, parts, make) {
  const key = JSON.stringify(parts);
  if (fresh.get(id) === key) return;
  fresh.set(id, key);
  $(id).replaceChildren(...parts.map(make).filter(Boolean));
}

function group(one) {
  if (typeof one === "number") return one ? h("p", { class: "hint" }, `and ${one} more`) : view.groups.length ? null : h("p", { class: "hint" }, "No worker is connected.");
  return h("section", {}, h("h3", {}, one.name), h("ul", {}, one.workers.map((each) => worker(one.name, each))));
}

function worker(groupName, one) {
  const name = `${groupName}/${one.name}`;
  return h(
    "li",
    { class: `${workerClass(name)}${one.connected ? "" : " away"}`, title: one.pid ? `${name}, process ${one.pid}` : name },
    h("span", { class: "dot", "aria-hidden": "true" }),
    h("span", { class: "id" }, short(one.name)),
    h("span", { class: "muted" }, one.connected ? (one.pid ? `pid ${one.pid}` : "") : "away"),
    one.holds ? h("span", { class: "holding" }, "holds ", promises(one.tasks.map((task) => task.promise), one.holds)) : null,
    one.sent ? h("span", { class: "holding" }, `${one.sent} sent, not yet taken`) : null,
  );
}

function promises(ids, count) {
  const links = ids.flatMap((id, place) => [place ? ", " : "", link(id, choose)]);
  return count > ids.length ? [...links, ` and ${count - ids.length} more`] : links;
}

function lost(gone) {
  return h(
    "section",
    {},
    h("h3", {}, "Gone in the last minute"),
    h("ul", {}, gone.map((one) =>
      h(
        "li",
        { class: `${workerClass(one.name)} away${one.holds ? " lost" : ""}`, title: one.name },
        h("span", { class: "dot", "aria-hidden": "true" }),
        h("span", { class: "id" }, short(one.name).replace(/^[^/]*[/]/, "")),
        h("span", { class: "muted" }, one.ago),
        h("span", { class: "holding" }, `${one.name.replace(/[/].*/, "")}: `, one.holds ? ["lost while it held ", promises(one.promises, one.holds)] : one.pid ? `process ${one.pid} ended` : "disconnected"),
      ),
    )),
  );
}
