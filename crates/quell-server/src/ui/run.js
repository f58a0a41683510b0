// @ts-check
// One run: how it stands, its stop, its tree over time, its events, what went in and what came out.

import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { follow, get, pathOf, post, wait } from "./api.js";
import { clock, isDone, isOver, ms, pretty, sign, valueOf, why, worked } from "./format.js";
import { useAct, useNow, useRead } from "./live.js";
import { EVENTS_MAX, lineOf, Log } from "./log.js";
import { ROWS_MAX, Tree } from "./model.js";
import { readStops, STOPS_EVERY } from "./stops.js";
import { Strip } from "./strip.js";
import { TreeView } from "./tree.js";

/** @param {{id: string}} props */
export function Run({ id }) {
  const [isStill, setStill] = useState(false);
  const { value: run, error, again } = useRead(
    (signal) => get(`${pathOf(id)}?values=false`, signal), isStill ? REST : 1_000, [id, isStill],
  );
  useEffect(() => setStill(Boolean(run) && isDone(run)), [run]);
  const [tree, events, version] = useTree(id);
  const now = useNow(run && run.quiescent ? 10_000 : 250);
  if (!run) {
    return html`<h2>${id}</h2>${error ? html`<p class="error" role="alert">${error}</p>` : html`<p>Reading…</p>`}`;
  }
  return html`
    <h2>${run.id}</h2>
    ${error && html`<p class="error" role="alert">${error}</p>`}
    <p class=${`state ${run.status}`} role="status">
      <b>${sign(run.status)} ${run.status}</b>
      ${run.ended_at && (run.quiescent
        ? html` <span>quiescent: nothing of it executes</span>`
        : html` <span class="warn">its result is final, and something of it executes still: ${run.abandoned.join(", ")}</span>`)}
    </p>
    <${Steer} run=${run} done=${again} />
    ${run.stopped_at && (run.quiescent
      ? html`<${StopDone} run=${run} tree=${tree} />`
      : html`<${StopUnderWay} run=${run} />`)}
    <${Facts} run=${run} now=${now} />
    <h3 id="tree">Tree ${tree.rows.size > 1 ? html`<small>${tree.rows.size + tree.left} runs</small>` : ""}</h3>
    ${tree.left > 0 && html`<p>${tree.left} runs are not shown.</p>`}
    <${TreeView} tree=${tree} now=${now} version=${version} />
    <${Values} id=${id} status=${run.status} />
    <${Log} events=${events} tree=${tree} />`;
}

/**
 * Reads the tree of a run by parts, and follows its events. They are drawn once a frame at most.
 * @param {string} id
 * @returns {[Tree, import("./log.js").Line[], number]}
 */
function useTree(id) {
  const [version, setVersion] = useState(0);
  const kept = useRef({ tree: new Tree(), events: /** @type {import("./log.js").Line[]} */ ([]) });
  useEffect(() => {
    const stopped = new AbortController();
    const now = { tree: new Tree(), events: /** @type {import("./log.js").Line[]} */ ([]) };
    kept.current = now;
    let isDrawn = true;
    const draw = () => {
      if (!isDrawn) return;
      isDrawn = false;
      setTimeout(() => {
        isDrawn = true;
        if (!stopped.signal.aborted) setVersion((version) => version + 1);
      }, DRAW_EVERY);
    };
    const reread = () => readTree(id, now.tree, stopped.signal).then(draw, () => {});
    let isDue = false;
    const rereadSoon = () => {
      if (isDue) return;
      isDue = true;
      setTimeout(() => {
        isDue = false;
        if (!stopped.signal.aborted) void reread();
      }, REREAD_AFTER);
    };
    const take = (/** @type {import("./types.js").RunEvent[]} */ some) => {
      takeAll(now, some);
      // What is not here of the events is in the tree, and so is the error of what has failed.
      const hasFailed = (/** @type {import("./types.js").RunEvent} */ event) =>
        event.event === "ended" && event.data === "failed";
      if (some.some((event) => event.event === "lagged" || hasFailed(event))) rereadSoon();
      draw();
    };
    (async () => {
      await reread();
      for (let last = 0; !stopped.signal.aborted; await wait(FOLLOW_AGAIN, stopped.signal)) {
        last = await follow(id, last, stopped.signal, take);
        // A stream ends with its run, and with its server. What has ended may execute still.
        await reread();
        const [root] = now.tree.visible(new Set());
        if (root && isDone(root)) return;
      }
    })();
    return () => stopped.abort();
  }, [id]);
  return [kept.current.tree, kept.current.events, version];
}

/** @param {{tree: Tree, events: import("./log.js").Line[]}} now @param {import("./types.js").RunEvent[]} some */
function takeAll(now, some) {
  for (const event of some) now.tree.take(event);
  now.events.push(...some.map(lineOf));
  if (now.events.length > EVENTS_MAX) now.events.splice(0, now.events.length - EVENTS_MAX);
}

/** @param {string} id @param {Tree} tree @param {AbortSignal} signal */
async function readTree(id, tree, signal) {
  let cursor = "";
  do {
    const page = await get(`${pathOf(id)}/tree?limit=1000${cursor && `&cursor=${encodeURIComponent(cursor)}`}`, signal);
    for (const row of page.rows) tree.put(row);
    const omitted = Object.values(page.omitted).reduce((sum, count) => sum + Number(count), 0);
    tree.leftOut = Math.max(0, page.total - ROWS_MAX) + omitted;
    cursor = page.next ?? "";
  } while (cursor && tree.rows.size < ROWS_MAX);
}

/** What somebody can do with a run. @param {{run: any, done: () => void}} props */
function Steer({ run, done }) {
  const [reason, setReason] = useState("");
  const [grace, setGrace] = useState("");
  const [answer, setAnswer] = useState("");
  const [isBusy, said, act] = useAct();
  const path = pathOf(run.id);
  const does = (/** @type {string} */ what, /** @type {unknown} */ body, /** @type {string} */ words) => () =>
    act(async () => {
      const told = await post(`${path}/${what}`, body);
      done();
      return told.disposition ? `${words}: ${told.disposition}` : words;
    });
  const text = (/** @type {(value: string) => void} */ set) => (/** @type {Event} */ event) =>
    set(/** @type {HTMLInputElement} */ (event.target).value);
  // No number of seconds is left to the server: it has a grace of its own.
  const graced = grace.trim() === "" ? {} : { grace_ms: Math.round(Number(grace) * 1_000) };
  const stop = { reason: reason || "stopped on the page", ...graced };
  if (isOver(run.status)) return said && html`<p role="status">${said}</p>`;
  return html`
    <div class="steer">
      <label>Reason <input value=${reason} maxlength="500" onInput=${text(setReason)} /></label>
      <label>Grace in seconds
        <input type="number" min="0" step="any" size="6" value=${grace} placeholder="its own" onInput=${text(setGrace)} />
      </label>
      <button class="danger" disabled=${isBusy} onClick=${does("cancel", stop, "Stop")}>Stop</button>
      ${run.status === "running" && html`<button disabled=${isBusy} onClick=${does("pause", {}, "Pause")}>Pause</button>`}
      ${run.status === "paused" && html`
        <p>It asks: <b>${pretty(run.pause?.request)}</b></p>
        <label>Answer: text, or JSON <input value=${answer} onInput=${text(setAnswer)} /></label>
        <button disabled=${isBusy}
          onClick=${does("resume", { answer: valueOf(answer), attempt: run.pause?.attempt }, "Answered")}>Answer</button>`}
      <span role="status">${said}</span>
    </div>`;
}

/** The strip of a stop that is under way. @param {{run: any}} props */
function StopUnderWay({ run }) {
  const { value } = useRead(readStops, STOPS_EVERY, []);
  const now = useNow(100);
  const found = value?.stops.find((stop) => stop.root === run.id || stop.id === run.id);
  if (value && found) return html`<${Strip} stop=${found} now=${now - value.skew} />`;
  return html`<p>Stopped at ${clock(run.stopped_at)}, ${why(run.cause)}.${value?.more ? " There are too many stops to tell how this one stands." : ""}</p>`;
}

/** The strip of a stop after which nothing executes. @param {{run: any, tree: Tree}} props */
function StopDone({ run, tree }) {
  const aborted = [...tree.rows.values()].filter((row) => row.aborted).map((row) => row.name);
  const left = ms(run.quiesced_at) - ms(run.stopped_at);
  return html`
    <ol class="strip" aria-label="How the stop went">
      <li class="done"><b>Accepted</b><span>${clock(run.stopped_at)}, ${why(run.cause)}</span></li>
      ${aborted.length > 0 && html`<li class="done"><b>Aborted</b><span>${aborted.slice(0, 12).join(", ")}</span></li>`}
      <li class="done"><b>Terminal</b><span>after ${ms(run.ended_at) - ms(run.stopped_at)} ms</span></li>
      <li class="done"><b>Quiescent</b><span>${Number.isFinite(left) ? `after ${left} ms` : "nothing executes"}</span></li>
    </ol>`;
}

/** @param {{run: any, now: number}} props */
function Facts({ run, now }) {
  const usage = run.usage ?? {};
  const facts = [
    ["Component", run.component],
    ["Owner", run.owner],
    ["Session", run.session],
    ["Node", run.node],
    ["Accepted", clock(run.queued_at)],
    ["Worked", worked(run, now)],
    ["Waits for", run.queue && `${run.queue.waiting_for}, ${run.queue.ahead ?? 0} ahead`],
    ["Cause", why(run.cause)],
    ["Origin of the stop", run.cause?.origin],
    ["Tokens", usage.input_tokens || usage.output_tokens ? `${usage.input_tokens} in, ${usage.output_tokens} out` : ""],
    ["Cost", usage.cost_micros ? `${(usage.cost_micros / 1e6).toFixed(4)}` : ""],
    ["Progress", run.progress === null ? "" : `${Math.round(run.progress * 100)} %`],
    ["Labels", Object.entries(run.labels ?? {}).map(([name, value]) => `${name}=${value}`).join(", ")],
  ];
  return html`
    <dl class="facts">
      ${facts.filter(([, value]) => value).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
    ${run.error && html`<p class="error">${run.error}</p>`}`;
}

/** What went in and came out, which may be large: it is read less often. @param {{id: string, status: string}} props */
function Values({ id, status }) {
  const { value: run } = useRead((signal) => readValues(id, signal), isOver(status) ? REST : VALUES_EVERY, [id, status]);
  if (!run) return "";
  const all = [["Input", run.input], ["Text", run.text], ["Output", run.output], ["Partial output", run.output === null ? run.partial : null]];
  return html`${all.filter(([, value]) => value !== null && value !== "" && value !== undefined).map(([name, value]) => html`
    <details open=${name === "Output"}><summary>${name}</summary><pre tabindex="0">${pretty(value)}</pre></details>`)}`;
}

/** @param {string} id @param {AbortSignal} signal */
async function readValues(id, signal) {
  const { input, text, output, partial } = await get(pathOf(id), signal);
  return { input, text, output, partial };
}

/** The pause between two readings of what a run has said and of what will not change, in milliseconds. */
const VALUES_EVERY = 5_000;
const REST = 60_000;

/** The pause until a run is followed again whose stream has ended before it, in milliseconds. */
const FOLLOW_AGAIN = 2_000;

/** The pause until a tree is read again of which the events do not tell all, in milliseconds. */
const REREAD_AFTER = 500;

/** The pause between two drawings of a tree that changes, in milliseconds. */
const DRAW_EVERY = 100;
