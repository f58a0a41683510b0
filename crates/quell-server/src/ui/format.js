// @ts-check
// How the page writes times, durations and states.

/** @param {string | null | undefined} at @returns {number} */
export function ms(at) {
  return at ? Date.parse(at) : NaN;
}

/** @param {number} span in milliseconds */
export function span(span) {
  if (!Number.isFinite(span)) return "–";
  const left = Math.max(0, span);
  if (left < 1_000) return `${Math.round(left)} ms`;
  if (left < 60_000) return `${(left / 1_000).toFixed(1)} s`;
  const minutes = Math.floor(left / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((left % 60_000) / 1_000)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

/** @param {string | null | undefined} at */
export function clock(at) {
  if (!at) return "–";
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString([], { hour12: false });
  return isToday ? time : `${date.toLocaleDateString()} ${time}`;
}

/** @param {{started_at: string | null, ended_at: string | null}} run @param {number} now */
export function worked(run, now) {
  if (!run.started_at) return "–";
  return span((run.ended_at ? ms(run.ended_at) : now) - ms(run.started_at));
}

/** The words of a state, and a sign that does not need colours. @param {string} status */
export function sign(status) {
  return SIGNS[status] ?? "·";
}

/** @type {Record<string, string>} */
const SIGNS = {
  queued: "○",
  running: "▶",
  paused: "⏸",
  stopping: "◼",
  completed: "✓",
  failed: "✗",
  cancelled: "⊘",
  "timed-out": "⏱",
};

/** @param {string} status */
export function isOver(status) {
  return ["completed", "failed", "cancelled", "timed-out"].includes(status);
}

/**
 * Whether a run has ended, and nothing of it executes. Of one that is paused nothing executes, too.
 * @param {{status: string, quiescent: boolean}} run
 */
export function isDone(run) {
  return isOver(run.status) && run.quiescent;
}

/** Says who stopped a run, and why. @param {import("./types.js").Cause | null | undefined} cause */
export function why(cause) {
  if (!cause) return "";
  const what = cause.kind.replaceAll("-", " ");
  const by = cause.by ? ` by ${cause.by}` : "";
  return cause.message ? `${what}${by}: ${cause.message}` : `${what}${by}`;
}

/** Says what a piece of work is. @param {import("./types.js").Work} work */
export function work(work) {
  return `${work.name} (${WHAT[work.what] ?? work.what.replaceAll("-", " ")})`;
}

/** @type {Record<string, string>} */
const WHAT = { body: "its code", process: "a program", remote: "a service", hook: "cleanup" };

/** What is no JSON is text. @param {string} text @returns {unknown} */
export function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** @param {unknown} value */
export function pretty(value) {
  const text = typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
}

/** The longest value that is shown. */
const TEXT_MAX = 200_000;
