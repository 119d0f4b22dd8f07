// How durations, moments and values read. Nothing here touches the document.

const UNITS = [["d", 86_400_000], ["h", 3_600_000], ["m", 60_000]];

/** Say how long something took: three figures, cut off, never rounded up to what it has not reached. */
export function duration(ms) {
  ms = Math.max(0, Math.floor(ms));
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return ms < 10_000 ? `${(Math.floor(ms / 10) / 100).toFixed(2)} s` : `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  const [unit, size] = UNITS.find(([, size]) => ms >= size);
  const [below, part] = { d: ["h", 3_600_000], h: ["m", 60_000], m: ["s", 1000] }[unit];
  const rest = Math.floor((ms % size) / part);
  return `${Math.floor(ms / size)} ${unit}${rest ? ` ${rest} ${below}` : ""}`;
}

/** Name a place on the time axis, exactly: 100,000 is "1 m 40 s". */
export function tick(ms) {
  if (ms < 1000) return ms ? `${ms} ms` : "0";
  const parts = [];
  for (const [unit, size] of UNITS) {
    if (ms >= size) parts.push(`${Math.floor(ms / size)} ${unit}`);
    ms %= size;
  }
  if (ms) parts.push(`${ms / 1000} s`);
  return parts.join(" ");
}

/** Write a whole number with its thousands apart. (What JavaScript has for that takes 20 ms when it is first used.) */
export const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

/** Say how long ago something was, in the largest unit. */
export function ago(ms) {
  if (ms < 1000) return "now";
  const [unit, size] = UNITS.find(([, size]) => ms >= size) ?? ["s", 1000];
  return `${Math.floor(ms / size)} ${unit} ago`;
}

export function moment(ms) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return String(ms); // a time that no calendar has
  const local = new Date(ms - date.getTimezoneOffset() * 60_000);
  return Number.isNaN(local.getTime()) ? String(ms) : local.toISOString().replace("T", " ").replace("Z", "");
}

/** Name a moment by its time alone when it is today's, and how far off it is when it is to come. */
export function when(ms, now) {
  const text = moment(ms).replace(/\.\d+$/, "");
  const today = moment(now).slice(0, 11);
  const short = text.startsWith(today) ? text.slice(11) : text;
  return ms > now ? `${short}, in ${duration(Math.ceil((ms - now) / 1000) * 1000).replace(/\.0+ s/, " s")}` : short;
}

/** Break JSON into lines where it is long; numbers and strings stay as they are written. Other text is returned as it is. */
export function pretty(text, width = 72) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s"[\]{},:]+/g);
  let place = 0;
  // A value is its tokens on one line, and its parts: [opening, [part, ...], closing] or none.
  const read = () => {
    const first = tokens[place++];
    if (first !== "[" && first !== "{") return { line: first };
    const parts = [];
    for (; tokens[place] !== "]" && tokens[place] !== "}"; tokens[place] === "," && place++) {
      const name = first === "{" ? `${tokens[place]}: ` : "";
      if (name) place += 2;
      const value = read();
      parts.push({ ...value, name });
    }
    const close = tokens[place++];
    const line = `${first}${parts.map((part) => part.name + part.line).join(", ")}${close}`;
    return { line, parts, first, close };
  };
  const write = (value, indent) => {
    if (!value.parts?.length || indent.length + value.line.length <= width) return value.line;
    const deeper = `${indent}  `;
    const lines = value.parts.map((part) => deeper + part.name + write(part, deeper));
    return `${value.first}\n${lines.join(",\n")}\n${indent}${value.close}`;
  };
  try {
    return write(read(), "");
  } catch {
    return text; // nested too deeply for this
  }
}
