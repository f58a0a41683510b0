// @ts-check
// The strip of a stop: what has happened of it, what it waits for by name, and when that is given
// up at the latest.

import { html } from "./vendor/htm-preact.js";
import { clock, ms, span, why, work } from "./format.js";

/**
 * The parts of a stop in their order, each with whether it is over, under way or to come.
 * @param {{stop: import("./types.js").Stop, now: number}} props the time is that of the server
 */
export function Strip({ stop, now }) {
  const parts = partsOf(stop, now);
  const left = stop.standing ? ms(stop.standing.given_up_at) - now : NaN;
  const isOver = stop.status === "quiescent";
  return html`
    <ol class="strip" aria-label="How the stop stands">
      ${parts.map(([name, state, words]) => html`
        <li class=${state}><b>${name}</b><span>${words}</span></li>`)}
    </ol>
    ${!isOver && Number.isFinite(left) && html`
      <p class="left">${left > 0 ? `It takes ${span(left)} at most.` : "Its time is over: what executes still is given up, and named."}</p>`}`;
}

/**
 * @param {import("./types.js").Stop} stop @param {number} now
 * @returns {[string, string, unknown][]}
 */
export function partsOf(stop, now) {
  const standing = stop.standing;
  const accepted = stop.accepted_at
    ? `${clock(stop.accepted_at)}, ${why(stop.cause)}`
    : `recorded ${clock(stop.recorded_at)}: its node has not answered yet`;
  /** @type {[string, string, unknown][]} */
  const parts = [["Accepted", stop.accepted_at ? "done" : "now", accepted]];
  if (!standing) {
    parts.push(["Elsewhere", "now", `node ${stop.node ?? "?"} has it`]);
    return parts;
  }
  const all = standing.signalled >= standing.live;
  const more = standing.more ? ", and there may be more" : "";
  const signalled = standing.live ? `${standing.signalled} of ${standing.live}${more}` : "all";
  parts.push(["Signalled", all ? "done" : "now", signalled]);
  const busy = standing.cleaning_up;
  const hard = ms(standing.hard_deadline);
  const over = ms(standing.given_up_at);
  const isHard = Number.isFinite(hard) && now >= hard;
  parts.push(["Cleaning up", busy.length ? "now" : "done", busy.length ? names(busy, now) : "nothing left"]);
  parts.push(["Abort (H)", isHard ? "done" : "next", isHard ? `due since ${clock(standing.hard_deadline)}` : `aborted in ${span(hard - now)}`]);
  const aborted = standing.aborted.map((run) => run.name).join(", ");
  if (aborted) parts.push(["Aborted", "done", aborted]);
  const isOver = Number.isFinite(over) && now >= over;
  parts.push(["Give up (H + W)", isOver ? "done" : "next", isOver ? `due since ${clock(standing.given_up_at)}` : `given up in ${span(over - now)}`]);
  const left = standing.abandoned;
  if (left.length) parts.push(["Abandoned", "bad", names(left, now)]);
  if (standing.of_store) parts.push(["Elsewhere", "next", elsewhere(stop)]);
  parts.push(["Quiescent", "next", left.length ? "when that has ended" : "then nothing executes"]);
  return parts;
}

/** Says what the parts lack of a run of another node. @param {import("./types.js").Stop} stop */
function elsewhere(stop) {
  const has = stop.node ? `node ${stop.node} has it: ` : "";
  return `${has}told as far as the store tells, without hooks and closures`;
}

/** @param {import("./types.js").Work[]} all @param {number} now */
function names(all, now) {
  return html`
    <ul>
      ${all.slice(0, NAMED).map((one) => html`<li>${work(one)}${one.since ? `, for ${span(now - ms(one.since))}` : ""}</li>`)}
      ${all.length > NAMED && html`<li>and ${all.length - NAMED} more</li>`}
    </ul>`;
}

/** Pieces of work that are named. */
const NAMED = 12;
