// What a person can do to promises, each after a question: cancel, resolve, delete. And the list of keys.

import { $, h, request } from "/ui/lib.js";
import { grouped } from "/ui/words.js";

let done = () => {};

/** `onDone` is told what has been done: canceled, resolved or deleted. */
export function start(onDone) {
  done = onDone;
  $("keys-button").addEventListener("click", showKeys);
}

export const showKeys = () => $("keys").open || $("keys").showModal();

/**
 * Ask a question, and do what it is about when the answer is yes; what the server refuses stands below the question.
 *
 * `act` may return text that is wrong about the answer; then the question stays.
 */
function ask({ title, body, yes, no = "Keep it", danger = true, act }) {
  const dialog = $("confirm");
  const wrong = h("p", { class: "error", role: "alert" });
  const agree = yes && h("button", { type: "button", class: danger ? "danger" : "primary" }, yes);
  const form = h("form", { method: "dialog" }, h("h2", { id: "confirm-title" }, title), body, wrong, h("div", { class: "buttons" }, h("button", {}, yes ? no : "Close"), agree));
  const answer = async () => {
    agree.disabled = true;
    try {
      wrong.textContent = (await act()) ?? "";
      if (!wrong.textContent) dialog.close();
    } catch (error) {
      wrong.textContent = error.message;
    }
    agree.disabled = false;
  };
  agree?.addEventListener("click", answer);
  dialog.replaceChildren(form);
  dialog.showModal();
}

const patch = (id, body) => request(`/promises/${encodeURIComponent(id)}`, { method: "PATCH", body: JSON.stringify(body) });

export function cancel(id) {
  ask({
    title: `Cancel ${id}?`,
    body: h("p", {}, "Whoever waits for it gets an error. Calls it has made go on, and it cannot be taken back."),
    yes: "Cancel the promise",
    act: async () => {
      await patch(id, { state: "REJECTED_CANCELED" });
      done("canceled");
    },
  });
}

const base64 = (text) => btoa(String.fromCodePoint(...new TextEncoder().encode(text)));

export function resolve(id) {
  const value = h("textarea", { id: "resolve-value", rows: "4", spellcheck: "false" });
  value.value = "true";
  ask({
    title: `Resolve ${id}?`,
    body: [
      h("p", {}, "Whoever waits for it goes on with this value, and it cannot be taken back."),
      h("label", { for: "resolve-value" }, "Value, as JSON; empty for none"),
      value,
    ],
    yes: "Resolve the promise",
    no: "Not yet",
    danger: false,
    act: async () => {
      const text = value.value.trim();
      try {
        if (text) JSON.parse(text);
      } catch {
        return `This is no JSON: a text stands in quotes, such as "yes"`;
      }
      await patch(id, { state: "RESOLVED", value: text ? { data: base64(text) } : {} });
      done("resolved");
    },
  });
}

const many = (count, what) => `${grouped(count)} ${what}${count === 1 ? "" : "s"}`;

/** Delete a run, with all that its functions asked for and no other run uses. */
export async function remove(id) {
  const title = `Delete ${id}?`;
  let found;
  try {
    found = await request(`/ui/removable?id=${encodeURIComponent(id)}&pending=true`);
  } catch (error) {
    return ask({ title, body: h("p", { class: "error" }, error.message) });
  }
  if (!found.runs) return ask({ title, body: h("p", {}, "It cannot be deleted now: other runs use it, or a worker still has it in hand.") });
  const others = found.ids.filter((one) => one !== id);
  const lines = [
    `${many(found.promises, "promise")} will be gone for good. Their ids are free again: who asks for them starts anew.`,
    found.pending && `${many(found.pending, "promise")} of it ${found.pending === 1 ? "is" : "are"} pending, and will be canceled first: whoever waits gets an error.`,
    others.length && `With it go runs that use it: ${others.join(", ")}${found.runs > found.ids.length ? " ..." : ""}`,
    found.shared.length && `What other runs use as well stays: ${found.shared.join(", ")}`,
  ];
  ask({
    title,
    body: lines.filter(Boolean).map((line) => h("p", {}, line)),
    yes: found.pending ? "Cancel and delete" : "Delete the run",
    act: async () => {
      await request("/ui/remove", { method: "POST", body: JSON.stringify({ id, pending: found.pending > 0 }) });
      done("deleted");
    },
  });
}
