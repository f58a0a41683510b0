// @ts-check
// The documents of the contracts: their operations, what these take, and every answer.

import { html, useMemo, useState } from "./vendor/htm-preact.js";
import { get, Refused } from "./api.js";
import { useRead } from "./live.js";
import { boundsOf, Fields, Fold, hasFields, prose, resolve, Schema, typeOf } from "./schema.js";

/** Paths of the native API: its document has those of LangGraph, too. */
const NATIVE = /^\/(v1\/|healthz$|readyz$)/;

const CONTRACTS = [
  { id: "native", name: "native", at: "/openapi.json", has: (/** @type {string} */ path) => NATIVE.test(path) },
  { id: "langgraph", name: "LangGraph", at: "/openapi.json", has: (/** @type {string} */ path) => !NATIVE.test(path) },
  { id: "agentos", name: "AgentOS", at: "/openapi/agentos.json", has: () => true },
  { id: "playbook3d", name: "Playbook3D", at: "/playbook3d/openapi.json", has: () => true },
];

/**
 * @typedef {object} Operation
 * @property {string} key
 * @property {string} method
 * @property {string} path
 * @property {string} tag
 * @property {any} told what the document says of it
 * @property {string} words all that is searched
 *
 * @typedef {object} Contract that this server serves
 * @property {string} id
 * @property {string} name
 * @property {string} at where its document is
 * @property {any} document
 * @property {Operation[]} operations
 */

/** @param {{id: string | undefined}} props the contract that is shown */
export function Docs({ id }) {
  const { value, error } = useRead(readContracts, EVERY, []);
  const shown = value?.find((one) => one.id === id) ?? value?.[0];
  return html`
    <h2>API</h2>
    ${error && html`<p class="error" role="alert">${error}</p>`}
    ${value && html`
      <nav aria-label="Contracts">
        ${value.map((one) => html`
          <a href=${`#/api/${one.id}`} aria-current=${one === shown ? "page" : undefined}>${one.name}</a>`)}
      </nav>`}
    ${shown && html`<${ContractView} key=${shown.id} contract=${shown} />`}`;
}

/** @param {{contract: Contract}} props */
function ContractView({ contract }) {
  const { at, document, operations } = contract;
  const [typed, setTyped] = useState("");
  const found = useMemo(() => search(operations, typed), [operations, typed]);
  const tags = [...new Set(found.map((one) => one.tag))];
  const described = new Map((document.tags ?? []).map((/** @type {any} */ tag) => [tag.name, tag.description]));
  return html`
    <p>${document.info.description} All of it for machines: <a href=${at}>${at}</a>.</p>
    <${Schemes} schemes=${document.components?.securitySchemes ?? {}} />
    <form class="filters" role="search" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <label>Search
        <input type="search" value=${typed} size="30" placeholder="cancel, POST, thread_id …"
          onInput=${(/** @type {Event} */ event) => setTyped(/** @type {HTMLInputElement} */ (event.target).value)} />
      </label>
      <span role="status">${found.length} of ${operations.length} operations</span>
    </form>
    ${tags.map((tag) => html`
      <section key=${tag} class="operations">
        <h3>${tag}</h3>
        ${described.get(tag) && html`<p>${described.get(tag)}</p>`}
        ${found.filter((one) => one.tag === tag).map((one) => html`
          <${Fold} key=${one.key} title=${titleOf(one)}
            make=${() => html`<${OperationView} document=${document} operation=${one} />`} />`)}
      </section>`)}`;
}

/** @param {{schemes: Record<string, any>}} props */
function Schemes({ schemes }) {
  return html`
    <dl class="facts">
      ${Object.entries(schemes).map(([name, scheme]) => html`
        <div><dt>Credential ${name}</dt><dd><code>${headerOf(scheme)}</code></dd></div>`)}
    </dl>`;
}

/** @param {any} scheme */
function headerOf(scheme) {
  if (scheme.type === "apiKey") return `${scheme.name}: …`;
  return `authorization: ${scheme.scheme === "bearer" ? "Bearer" : scheme.scheme} …`;
}

/** @param {Operation} operation */
function titleOf({ method, path, told }) {
  return html`<b class="method">${method}</b> <code>${path}</code> <span>${told.summary ?? ""}</span>`;
}

/** @param {{document: any, operation: Operation}} props */
function OperationView({ document, operation }) {
  const { told } = operation;
  const body = told.requestBody && resolve(document, told.requestBody).part;
  return html`
    <div class="operation">
      ${told.description && prose(told.description)}
      <p>Credentials: ${credentials(told.security ?? document.security)}.</p>
      ${told.parameters?.length > 0 && html`
        <h4>Parameters</h4>
        <${Fields} document=${document} fields=${told.parameters.map((/** @type {any} */ one) => parameter(document, one))} />`}
      ${body && html`
        <h4>Body${body.required ? "" : ", or none"}</h4>
        ${body.description && prose(body.description)}
        <${Contents} document=${document} content=${body.content} isOpen=${true} />`}
      <h4>Answers</h4>
      <ul class="answers">
        ${Object.entries(told.responses).map(([status, answer]) =>
          html`<${Answer} key=${status} document=${document} status=${status} answer=${answer} />`)}
      </ul>
    </div>`;
}

/** @param {any} document @param {any} one @returns {import("./schema.js").Field} */
function parameter(document, one) {
  const { part } = resolve(document, one);
  return { name: part.name, schema: part.schema, isNeeded: part.required, place: part.in, description: part.description };
}

/** Says which credentials are asked for: one of several, or several together. @param {any[] | undefined} all */
function credentials(all) {
  if (!all?.length) return "none";
  const named = all.map((one) => Object.keys(one).join(" and ")).filter(Boolean);
  const isFree = named.length < all.length;
  return `${named.join(", or ")}${isFree ? "; none where the server asks for none" : ""}`;
}

/** @param {{document: any, status: string, answer: any}} props */
function Answer({ document, status, answer }) {
  const { part } = resolve(document, answer);
  return html`
    <li>
      <b>${status}</b> ${part.description}
      ${part.headers && html` <small>with ${Object.keys(part.headers).join(", ")}</small>`}
      ${part.content && html`<${Contents} document=${document} content=${part.content} isOpen=${false} />`}
    </li>`;
}

/**
 * What a body contains, by its type. Several of one schema are told once.
 * @param {{document: any, content: Record<string, any>, isOpen: boolean}} props
 */
function Contents({ document, content, isOpen }) {
  const schemas = new Map();
  for (const [kind, { schema }] of Object.entries(content)) {
    const key = JSON.stringify(schema);
    schemas.set(key, { schema, kinds: [...(schemas.get(key)?.kinds ?? []), kind] });
  }
  return [...schemas.values()].map(({ schema, kinds }) => {
    const bounds = boundsOf(document, schema).map((words) => html` <small>· ${words}</small>`);
    const title = html`<code>${kinds.join(", ")}</code> <span class="type">${typeOf(document, schema)}</span>${bounds}`;
    const make = () => html`<${Schema} document=${document} schema=${schema} />`;
    if (!hasFields(document, schema)) return html`<p>${title}</p>`;
    return isOpen ? html`<p>${title}</p>${make()}` : html`<${Fold} title=${title} make=${make} />`;
  });
}

/** @param {Operation[]} operations @param {string} typed words that all have to be there */
function search(operations, typed) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  return operations.filter((one) => words.every((word) => one.words.includes(word)));
}

/**
 * Reads the documents, each once: a server has the same as long as it is there.
 * @param {AbortSignal} signal @returns {Promise<Contract[]>}
 */
async function readContracts(signal) {
  if (known.length) return known;
  const documents = new Map();
  for (const at of new Set(CONTRACTS.map((one) => one.at))) {
    documents.set(at, await get(at, signal).catch(absent));
  }
  const all = CONTRACTS.map(({ id, name, at, has }) => {
    const document = documents.get(at);
    return { id, name, at, document, operations: document ? operationsOf(document, at, has) : [] };
  });
  known = all.filter((one) => one.operations.length);
  return known;
}

/** What was read. @type {Contract[]} */
let known = [];

/** Yields null for a document that this server does not have. @param {unknown} error */
function absent(error) {
  if (error instanceof Refused && error.status === 404) return null;
  throw error;
}

/** @param {any} document @param {string} at @param {(path: string) => boolean} has @returns {Operation[]} */
function operationsOf(document, at, has) {
  const base = new URL(document.servers?.[0]?.url ?? "/", new URL(at, location.origin)).pathname.replace(/\/$/, "");
  const paths = Object.entries(document.paths).filter(([path]) => has(path));
  return paths.flatMap(([path, operations]) => Object.entries(/** @type {any} */ (operations)).map(([name, told]) => {
    const [method, tag] = [name.toUpperCase(), told.tags?.[0] ?? ""];
    const parameters = (told.parameters ?? []).map((/** @type {any} */ one) => one.name);
    const words = [method, base + path, tag, told.operationId, told.summary, told.description, ...parameters];
    return { key: `${name} ${path}`, method, path: base + path, tag, told, words: words.join(" ").toLowerCase() };
  }));
}

/** The pause until documents are asked for again that could not be read, in milliseconds. */
const EVERY = 5_000;
