// @ts-check
// The stops that are under way, each with its strip.

import { html } from "./vendor/htm-preact.js";
import { get } from "./api.js";
import { useNow, useRead } from "./live.js";
import { Strip } from "./strip.js";

export function Stops() {
  const { value, error } = useRead(readStops, STOPS_EVERY, []);
  const now = useNow(100);
  const { stops, skew } = value ?? { stops: [], skew: 0 };
  return html`
    <h2>Stops</h2>
    ${error && html`<p class="error" role="alert">${error}</p>`}
    ${value && !stops.length && html`<p>No stop is under way: what was stopped is quiescent, nothing of it executes.</p>`}
    ${stops.map((stop) => html`
      <article key=${stop.id}>
        <h3><a href=${`#/runs/${encodeURIComponent(stop.root)}`}>${stop.id}</a></h3>
        <${Strip} stop=${stop} now=${now - skew} />
      </article>`)}
    ${value?.more && html`<p>There are others besides.</p>`}`;
}

/**
 * Reads the stops that are under way, and by how much the clock of this machine is ahead of that of
 * the server.
 * @param {AbortSignal} signal
 * @returns {Promise<{stops: import("./types.js").Stop[], more: boolean, skew: number}>}
 */
export async function readStops(signal) {
  const answer = await get("/v1/stops", signal);
  return { ...answer, skew: Date.now() - Date.parse(answer.at) };
}

/** The pause between two readings, in milliseconds. */
export const STOPS_EVERY = 500;
