// @ts-check
// What the page asks of the server: the native API of this origin, and nothing else.

/** The key of the caller. It is in memory alone: a reload forgets it. */
let key = "";

/** @type {Set<(state: {connected: boolean, needsKey: boolean}) => void>} */
const watchers = new Set();
const state = { connected: true, needsKey: false };

/** @param {(state: {connected: boolean, needsKey: boolean}) => void} watcher */
export function watchState(watcher) {
  watchers.add(watcher);
  watcher(state);
  return () => watchers.delete(watcher);
}

/** @param {boolean} connected @param {boolean} needsKey */
function tell(connected, needsKey) {
  if (state.connected === connected && state.needsKey === needsKey) return;
  state.connected = connected;
  state.needsKey = needsKey;
  for (const watcher of watchers) watcher({ ...state });
}

/** Takes a key. Yields what is wrong with it, if no request can carry it. @param {string} given */
export function useKey(given) {
  const trimmed = given.trim();
  if (!/^[!-~]+$/.test(trimmed)) {
    return "A key has no blanks, and no signs but those of ASCII: copy it once more.";
  }
  key = trimmed;
  tell(state.connected, false);
  return "";
}

/** A refusal of the server, in its words. `status` is 0 if there was no answer. */
export class Refused extends Error {
  /** @param {number} status @param {string} words */
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

/** @param {Response} answer */
async function refusal(answer) {
  let words = `${answer.status} ${answer.statusText}`;
  try {
    const problem = await answer.json();
    words = problem.detail || problem.title || words;
  } catch {
    // The answer is no problem document: its status says enough.
  }
  return new Refused(answer.status, words);
}

/**
 * Sends a request. Fails with `Refused`, or with the reason of `signal`.
 * @param {string} path
 * @param {RequestInit} [init]
 */
async function send(path, init = {}) {
  const headers = new Headers(init.headers);
  if (key) headers.set("authorization", `Bearer ${key}`);
  let answer;
  try {
    answer = await fetch(path, { ...init, headers, cache: "no-store" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    tell(false, state.needsKey);
    throw new Refused(0, "the server cannot be reached");
  }
  tell(true, answer.status === 401);
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

/** @param {string} path @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function get(path, signal) {
  return (await send(path, { signal })).json();
}

/** @param {string} path @param {unknown} body @returns {Promise<any>} */
export async function post(path, body) {
  const headers = { "content-type": "application/json" };
  return (await send(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

/** @param {string} id */
export function pathOf(id) {
  return `/v1/runs/${encodeURIComponent(id)}`;
}

/**
 * Yields the events of a run from a number on, until its stream ends. `EventSource` could not send
 * the key.
 * @param {string} id @param {number} after @param {AbortSignal} signal
 */
export async function* events(id, after, signal) {
  const answer = await send(`${pathOf(id)}/events?after=${after}`, { signal });
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      const parts = rest.split("\n\n");
      rest = parts.pop() ?? "";
      const found = parts.map(eventIn).filter((event) => event !== null);
      if (found.length) yield found;
    }
  } finally {
    // Who takes no more lets the connection go. One that is lost has gone.
    reader.cancel().catch(() => {});
  }
}

/** @param {string} part @returns {import("./types.js").RunEvent | null} */
function eventIn(part) {
  const lines = part.split("\n").filter((line) => line.startsWith("data:"));
  if (!lines.length) return null;
  return JSON.parse(lines.map((line) => line.slice(5).trim()).join("\n"));
}

/**
 * Follows a run: hands over its events, and goes on behind the last one when the connection is
 * lost, until the stream has ended or `signal` says so. Yields the number of the last event: a
 * stream also ends when its server does.
 * @param {string} id
 * @param {number} after
 * @param {AbortSignal} signal
 * @param {(events: import("./types.js").RunEvent[]) => void} take
 * @returns {Promise<number>}
 */
export async function follow(id, after, signal, take) {
  let [last, pause] = [after, PAUSE_MIN];
  for (;;) {
    try {
      for await (const some of events(id, last, signal)) {
        last = some.reduce((most, event) => Math.max(most, event.seq, gapEnd(event)), last);
        // Behind that: what cannot be taken is not asked for again.
        take(some);
        pause = PAUSE_MIN;
      }
      return last;
    } catch (error) {
      if (signal.aborted || (error instanceof Refused && isFinal(error.status))) return last;
      await wait(pause, signal);
      pause = Math.min(2 * pause, PAUSE_MAX);
    }
  }
}

/** The last event of a gap. What a program says has fields of its own. @param {any} event */
function gapEnd(event) {
  return event.event === "lagged" ? event.data.to : 0;
}

/** Whether it is of no use to ask again: not of a server that has too much to do. @param {number} status */
function isFinal(status) {
  return status >= 400 && status < 500 && ![408, 425, 429].includes(status);
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
export function wait(ms, signal) {
  return new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      done();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}

/** How long the page waits until it asks a server again that was away, in milliseconds. */
const PAUSE_MIN = 500;
export const PAUSE_MAX = 5_000;
