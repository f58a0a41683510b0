// @ts-check
// What there is to start, and a form that starts it.

import { html, useState } from "./vendor/htm-preact.js";
import { get, post } from "./api.js";
import { valueOf } from "./format.js";
import { useAct, useRead } from "./live.js";

export function Components() {
  const { value, error } = useRead((signal) => get("/v1/components", signal), 10_000, []);
  const [chosen, setChosen] = useState("");
  return html`
    <h2>Components</h2>
    ${error && html`<p class="error" role="alert">${error}</p>`}
    ${value && html`
      <ul class="components">
        ${value.components.map((/** @type {any} */ one) => html`
          <li key=${one.component}>
            <b>${one.component}</b>
            ${one.name !== one.id && html` <span>${one.name}</span>`}
            ${one.description && html`<p>${one.description}</p>`}
            ${one.may_start && html`
              <button aria-expanded=${chosen === one.component}
                onClick=${() => setChosen(chosen === one.component ? "" : one.component)}>Start…</button>`}
            ${chosen === one.component && html`<${StartForm} component=${one.component} />`}
          </li>`)}
      </ul>`}`;
}

/** @param {{component: string}} props */
function StartForm({ component }) {
  const [input, setInput] = useState("");
  const [id, setId] = useState("");
  const [timeout, setTimeout] = useState("");
  const [isBusy, said, act] = useAct();
  const start = (/** @type {Event} */ event) => {
    event.preventDefault();
    act(async () => {
      const run = await post("/v1/runs", {
        component,
        ...(input && { input: valueOf(input) }),
        ...(id && { id }),
        ...(timeout && { timeout_ms: Math.round(Number(timeout) * 1_000) }),
      });
      location.hash = `#/runs/${encodeURIComponent(run.id)}`;
      return "";
    });
  };
  const text = (/** @type {(value: string) => void} */ set) => (/** @type {Event} */ event) =>
    set(/** @type {HTMLInputElement} */ (event.target).value);
  return html`
    <form class="start" onSubmit=${start}>
      <label>Input: text, or JSON <textarea rows="3" value=${input} onInput=${text(setInput)}></textarea></label>
      <label>Id, or none for a new one <input value=${id} maxlength="128" onInput=${text(setId)} /></label>
      <label>Timeout in seconds, or none <input type="number" min="0.001" step="any" value=${timeout} onInput=${text(setTimeout)} /></label>
      <button disabled=${isBusy}>Start ${component}</button>
      <span role="status">${said}</span>
    </form>`;
}
