// @ts-check
// The servers that share the store, or this one alone.

import { html } from "./vendor/htm-preact.js";
import { get } from "./api.js";
import { span } from "./format.js";
import { useRead } from "./live.js";

export function Nodes() {
  const { value, error } = useRead((signal) => get("/v1/nodes", signal), 2_000, []);
  const head = ["Node", "Process", "Lease", "Live runs", "Queued", "Stops waiting", "In doubt"];
  return html`
    <h2>Nodes</h2>
    ${error && html`<p class="error" role="alert">${error}</p>`}
    ${value && html`
      <div class="scroll" tabindex="0" role="region" aria-label="Nodes">
      <table>
        <thead><tr>${head.map((words) => html`<th scope="col">${words}</th>`)}</tr></thead>
        <tbody>
          ${value.nodes.map((/** @type {any} */ node) => html`
            <tr key=${node.name ?? "alone"}>
              <td>${node.name ?? "this server"}${node.drained ? " (drained)" : ""}</td>
              <td>${node.process}</td>
              <td>${lease(node)}</td>
              <td>${node.live}</td><td>${node.queued}</td>
              <td>${node.stops_waiting}</td><td>${node.runs_in_doubt}</td>
            </tr>`)}
        </tbody>
      </table>
      </div>
      ${value.lost.length > 0 && html`<p class="warn">${value.lost.length} lost: what they executed may go on there.</p>`}`}`;
}

/** @param {any} node */
function lease(node) {
  if (node.lease_over_ms !== null) return html`<b class="warn">over for ${span(node.lease_over_ms)}</b>`;
  return node.lease_left_ms === null ? "needs none" : `${span(node.lease_left_ms)} left`;
}
