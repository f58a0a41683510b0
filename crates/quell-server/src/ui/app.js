// @ts-check
// The frame of the page: where one is, whether the server is there, and the key.

import { html, render, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { useKey, watchState } from "./api.js";
import { Components } from "./components.js";
import { Docs } from "./docs.js";
import { Nodes } from "./nodes.js";
import { Run } from "./run.js";
import { Runs } from "./runs.js";
import { Stops } from "./stops.js";

const VIEWS = [
  ["runs", "Runs"],
  ["stops", "Stops"],
  ["components", "Components"],
  ["nodes", "Nodes"],
  ["api", "API"],
];

/** Yields the parts of the path behind the `#`. */
function place() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean);
  return parts.map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
}

function App() {
  const [[view = "runs", id], setPlace] = useState(place);
  const [state, setState] = useState({ connected: true, needsKey: false });
  const [login, setLogin] = useState(0);
  useEffect(() => watchState(setState), []);
  useEffect(() => {
    const moved = () => {
      setPlace(place());
      document.querySelector("main")?.focus();
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(() => {
    document.title = id ? `${id} – quell` : `${view} – quell`;
  }, [view, id]);
  const link = (/** @type {string[]} */ [name, words]) => html`
    <a href=${`#/${name}`} aria-current=${name === view ? "page" : undefined}>${words}</a>`;
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header>
      <h1>quell</h1>
      <nav aria-label="Views">${VIEWS.map(link)}</nav>
      <span class="connection" role="status">${state.connected ? "" : "The server is away: trying again"}</span>
    </header>
    ${state.needsKey && html`<${KeyForm} done=${() => setLogin(login + 1)} />`}
    <main id="main" tabindex="-1" key=${`${login} ${view} ${id ?? ""}`}>
      ${shown(view, id)}
    </main>`;
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.querySelector("main")?.focus();
}

/** @param {string} view @param {string | undefined} id */
function shown(view, id) {
  if (view === "runs" && id) return html`<${Run} id=${id} />`;
  if (view === "stops") return html`<${Stops} />`;
  if (view === "components") return html`<${Components} />`;
  if (view === "nodes") return html`<${Nodes} />`;
  if (view === "api") return html`<${Docs} id=${id} />`;
  return html`<${Runs} />`;
}

/** Asks for the key. @param {{done: () => void}} props */
function KeyForm({ done }) {
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [fault, setFault] = useState("");
  useEffect(() => field.current?.focus(), []);
  const given = (/** @type {Event} */ event) => {
    event.preventDefault();
    const wrong = useKey(field.current?.value ?? "");
    setFault(wrong);
    if (!wrong) done();
  };
  return html`
    <form class="key" onSubmit=${given}>
      <label>The server asks for a key or a token. It is kept until the page is closed.
        <input type="password" ref=${field} autocomplete="off" required />
      </label>
      <button>Use it</button>
      <span role="alert">${fault}</span>
    </form>`;
}

render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
