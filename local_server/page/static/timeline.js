// The time axis of the tree: which part of a run's time is shown, its ticks, and the bar of each promise.

import { $, h, short, stateClass, workerClass } from "/ui/lib.js";
import { duration, tick } from "/ui/words.js";

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000,
  600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000]; // ms
const LABEL = 76; // pixels between two labels at least
const SHORTEST = 5; // ms that are shown at least
let whole = { start: 0, end: 1 };
let part = null; // {from, to}: what is shown of it; null: all
let changed = () => {};

export function start(onChange) {
  changed = onChange;
  const axis = $("axis");
  axis.addEventListener("wheel", wheel, { passive: false });
  $("tree").addEventListener("wheel", (event) => (event.ctrlKey || event.shiftKey) && wheel(event), { passive: false });
  axis.addEventListener("pointerdown", (event) => {
    if (!part) return;
    axis.setPointerCapture(event.pointerId);
    let x = event.clientX;
    axis.onpointermove = (move) => {
      pan((x - move.clientX) / axis.clientWidth);
      x = move.clientX;
    };
    axis.onpointerup = axis.onpointercancel = () => (axis.onpointermove = null);
  });
  $("zoom-in").addEventListener("click", () => zoom(0.5));
  $("zoom-out").addEventListener("click", () => zoom(2));
  $("zoom-all").addEventListener("click", all);
}

export function all() {
  part = null;
  changed();
}

/** Show a longer or shorter part; what is at `place` (0 to 1 from left to right) stays there. */
export function zoom(factor, place = 0.5) {
  const { from, to } = scale();
  const span = Math.max(SHORTEST, (to - from) * factor);
  const anchor = from + (to - from) * place;
  set(anchor - span * place, span);
}

/** Move by a part of what is shown. */
export function pan(share) {
  if (!part) return;
  set(part.from + (part.to - part.from) * share, part.to - part.from);
}

function set(from, span) {
  if (span >= whole.end - whole.start) part = null;
  else {
    from = Math.min(Math.max(from, whole.start), whole.end - span);
    part = { from, to: from + span };
  }
  changed();
}

function wheel(event) {
  const { left, width } = $("axis").getBoundingClientRect();
  event.preventDefault();
  const turned = Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : event.deltaY;
  if (event.shiftKey || event.deltaX) pan(turned / width);
  else zoom(Math.exp(turned / 400), Math.min(1, Math.max(0, (event.clientX - left) / width)));
}

const scale = () => part ?? { from: whole.start, to: whole.end };

/** Take the times of a run, and draw its axis. */
export function draw(start, end) {
  whole = { start, end: Math.max(end, start + 1) };
  const { from, to } = scale();
  const width = $("axis").clientWidth;
  const least = ((to - from) * LABEL) / Math.max(width, LABEL);
  let step = STEPS.find((one) => one >= least);
  for (let days = 86_400_000; !step; days *= days === 86_400_000 ? 7 : 2) if (days >= least) step = days;
  const labels = [];
  for (let at = Math.ceil((from - start) / step) * step; at <= (to - start) - least * 0.3; at += step) {
    const label = h("span", at + start - from < least * 0.3 ? { class: "first" } : {}, tick(at));
    label.style.left = `${((at + start - from) / (to - from)) * 100}%`;
    labels.push(label);
  }
  $("axis").replaceChildren(...labels);
  $("axis").classList.toggle("zoomed", part !== null);
  $("zoom-out").disabled = $("zoom-all").disabled = part === null;
}

/** Draw the life of a promise and the runs of its function. */
export function drawBar(bar, node) {
  const { from, to } = scale();
  const place = (at) => Math.max(0, Math.min(100, ((at - from) / (to - from)) * 100));
  const strip = (begin, end, kind, title) => {
    if (end < from || begin > to) return null;
    const element = h("i", { class: kind, title });
    element.style.left = `${place(begin)}%`;
    element.style.width = `${Math.max(0, place(end) - place(begin))}%`;
    return element;
  };
  const parts = [];
  const done = node.completed;
  const end = done ?? whole.end;
  if (done !== undefined && done < whole.start) {
    parts.push(h("i", { class: "before", title: "stored before this run began" }));
  } else {
    parts.push(strip(node.created, end, done === undefined ? "life open" : "life", ""));
    const runs = node.runs ?? [];
    runs.forEach((run, index) => {
      const next = runs[index + 1];
      const until = run.end ?? whole.end;
      const title = `${short(run.worker)}: ${duration(until - run.start)}${run.lost ? `, lost: ${run.lost}` : ""}`;
      parts.push(strip(run.start, until, `${run.lost ? "run lost" : "run"} ${workerClass(run.worker)}`, title));
      if (run.lost) parts.push(strip(until, next?.start ?? end, "gap", `taken over after ${duration((next?.start ?? whole.end) - until)}`));
    });
  }
  bar.className = `bar ${stateClass(node.state)}`;
  bar.replaceChildren(...parts.filter(Boolean));
}
