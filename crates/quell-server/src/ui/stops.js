// @ts-check
// The stops that are under way, each with its strip.

import { html } from "./vendor/htm-preact.js";
import { get } from "./api.js";
import { useNow, useRead } from "./live.js";
import { Strip } from "./strip.js";

export function Stops() {
  const { value, error } = useRead((signal) => get("/v1/stops", signal), 500, []);
  const now = useNow(100);
  /** @type {import("./types.js").Stop[]} */
  const stops = value?.stops ?? [];
  return html`
    <h2>Stops</h2>
    ${error && html`<p class="error" role="alert">${error}</p>`}
    ${value && !stops.length && html`<p>No stop is under way: what was stopped is quiescent, nothing of it executes.</p>`}
    ${stops.map((stop) => html`
      <article key=${stop.id}>
        <h3><a href=${`#/runs/${encodeURIComponent(stop.root)}`}>${stop.id}</a></h3>
        <${Strip} stop=${stop} now=${now - skewOf(value)} />
      </article>`)}
    ${value?.more && html`<p>There are others besides.</p>`}`;
}

/**
 * Yields by how much the clock of this machine is ahead of that of the server.
 * @param {{at: string, read?: number}} answer
 */
export function skewOf(answer) {
  answer.read ??= Date.now();
  return answer.read - Date.parse(answer.at);
}
