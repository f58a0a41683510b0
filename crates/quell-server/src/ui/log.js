// @ts-check
// The events of a run: the newest ones, as they come.

import { html, useState } from "./vendor/htm-preact.js";
import { clock, why } from "./format.js";

/** Events that are kept, and those that are shown of them. */
export const EVENTS_MAX = 2_000;
const SHOWN = 200;

/**
 * An event as the list shows it: what else it had may be large, and is not kept.
 * @typedef {{seq: number, run: string, at: string, event: string, told: string}} Line
 */

/** @param {import("./types.js").RunEvent} event @returns {Line} */
export function lineOf(event) {
  return { seq: event.seq, run: event.run, at: event.at, event: event.event, told: toldOf(event) };
}

/**
 * @param {{events: Line[], tree: import("./model.js").Tree}} props
 */
export function Log({ events, tree }) {
  const [words, setWords] = useState("");
  const isMeant = (/** @type {Line} */ event) =>
    !words || event.event.includes(words) || (tree.rows.get(event.run)?.name ?? "").includes(words);
  const meant = events.filter(isMeant);
  return html`
    <section aria-label="Events">
      <h3>Events</h3>
      <label>Only those of a name or kind
        <input value=${words} onInput=${(/** @type {Event} */ event) => setWords(/** @type {HTMLInputElement} */ (event.target).value)} />
      </label>
      <ol class="log" tabindex="0" aria-label="The newest events">
        ${meant.slice(-SHOWN).reverse().map((event) => html`
          <li key=${`${event.seq} ${event.at}`}>
            <time>${clock(event.at)}</time> <b>${event.event}</b> ${tree.rows.get(event.run)?.name ?? ""} <span>${event.told}</span>
          </li>`)}
      </ol>
      ${meant.length > SHOWN && html`<p>The newest ${SHOWN} of ${meant.length}.</p>`}
    </section>`;
}

/** @param {import("./types.js").RunEvent} event */
function toldOf(event) {
  const { data } = event;
  if (data === undefined || event.event === "queued") return "";
  if (event.event === "stopping" || event.event === "stop-requested") return why(data);
  if (event.event === "lagged") return `${data.to - data.from + 1} events are not here`;
  const text = [data, data?.text, data?.line].find((said) => typeof said === "string") ?? JSON.stringify(data);
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
}

/** The longest text of an event that is shown. */
const TEXT_MAX = 300;
