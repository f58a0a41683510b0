// @ts-check
// The runs: a list that is read again each second, filters, and a stop of many with its preview.

import { html, useMemo, useState } from "./vendor/htm-preact.js";
import { get, post } from "./api.js";
import { clock, sign, why, worked } from "./format.js";
import { useAct, useNow, useRead, useSettled } from "./live.js";

const STATUSES = [
  "queued", "running", "paused", "stopping", "completed", "failed", "cancelled", "timed-out",
];
const KINDS = ["agent", "team", "workflow"];
const KEYS = /** @type {const} */ (["component", "session", "owner", "lane", "label"]);
const TIMES = /** @type {const} */ (["since", "until"]);

/** @typedef {Record<"status" | "kind" | "component" | "session" | "owner" | "lane" | "label" | "since" | "until", string>} Filter */

const NONE = {
  status: "", kind: "", component: "", session: "", owner: "", lane: "", label: "", since: "", until: "",
};

export function Runs() {
  const [typed, setTyped] = useState(/** @type {Filter} */ (NONE));
  const filter = useSettled(typed);
  const [cursors, setCursors] = useState(/** @type {string[]} */ ([]));
  const cursor = cursors.at(-1);
  const query = useMemo(() => {
    const given = Object.entries({ ...filter, ...timesOf(filter) }).filter(([, value]) => value);
    const all = new URLSearchParams([...given, ["limit", String(LIMIT)], ["values", "false"]]);
    if (cursor) all.set("cursor", cursor);
    return all.toString();
  }, [filter, cursor]);
  const { value, error, again } = useRead(
    (signal) => get(`/v1/runs?${query}`, signal), EVERY, [query],
  );
  const now = useNow(1_000);
  const change = (/** @type {keyof Filter} */ name) => (/** @type {Event} */ event) => {
    setCursors([]);
    setTyped({ ...typed, [name]: /** @type {HTMLInputElement} */ (event.target).value });
  };
  return html`
    <h2>Runs</h2>
    <form class="filters" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <${Choice} name="Status" value=${typed.status} of=${STATUSES} change=${change("status")} />
      <${Choice} name="Kind" value=${typed.kind} of=${KINDS} change=${change("kind")} />
      ${KEYS.map((name) => html`
        <label>${name[0]?.toUpperCase()}${name.slice(1)}
          <input value=${typed[name]} onInput=${change(name)} size="12"
            placeholder=${name === "label" ? "key=value" : ""} />
        </label>`)}
      ${TIMES.map((name) => html`
        <label>${name === "since" ? "Accepted from" : "Accepted before"}
          <input type="datetime-local" step="1" value=${typed[name]} onInput=${change(name)} />
        </label>`)}
    </form>
    <${StopMany} filter=${filter} stopped=${again} />
    ${error && html`<p class="error" role="alert">${error}</p>`}
    ${value && html`<${Table} runs=${value.runs} now=${now} />`}
    ${value && html`
      <p class="pages">
        <span>${value.total} ${value.total === 1 ? "run" : "runs"}</span>
        <button disabled=${!cursors.length} onClick=${() => setCursors(cursors.slice(0, -1))}>Newer</button>
        <button disabled=${!value.next} onClick=${() => setCursors([...cursors, value.next])}>Older</button>
      </p>`}`;
}

/** @param {{name: string, value: string, of: string[], change: (event: Event) => void}} props */
function Choice({ name, value, of, change }) {
  return html`
    <label>${name}
      <select value=${value} onChange=${change}>
        <option value="">any</option>
        ${of.map((one) => html`<option value=${one}>${one}</option>`)}
      </select>
    </label>`;
}

/** @param {{runs: any[], now: number}} props */
function Table({ runs, now }) {
  if (!runs.length) {
    return html`<p>No run is like that. <a href="#/components">Start one</a>.</p>`;
  }
  const head = ["Status", "Run", "Component", "Accepted", "Worked", "Stopped by"];
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="Runs">
    <table>
      <thead><tr>${head.map((words) => html`<th scope="col">${words}</th>`)}</tr></thead>
      <tbody>
        ${runs.map((run) => html`
          <tr key=${run.uuid}>
            <td class=${`status ${run.status}`}>${sign(run.status)} ${run.status}${
              run.ended_at && !run.quiescent ? html` <b class="warn">still executing</b>` : ""}</td>
            <td><a href=${`#/runs/${encodeURIComponent(run.id)}`}>${run.id}</a></td>
            <td>${run.component ?? run.name}</td>
            <td>${clock(run.queued_at)}</td>
            <td>${worked(run, now)}</td>
            <td>${why(run.cause)}</td>
          </tr>`)}
      </tbody>
    </table>
    </div>`;
}

/**
 * Stops what the filter means. What that would be is shown first, and stopped by its ids: a run
 * that comes meanwhile is not hit.
 * @param {{filter: Filter, stopped: () => void}} props
 */
function StopMany({ filter, stopped }) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [reason, setReason] = useState("");
  const [isBusy, said, act] = useAct();
  const preview = () => act(async () => {
    const where = whereOf(filter);
    const asked = Object.keys(where).length ? { where } : { all: true };
    setFound(await post("/v1/runs/cancel", { ...asked, dry_run: true }));
    return "";
  });
  const stop = () => act(async () => {
    const runs = found.runs.map((/** @type {any} */ run) => run.uuid);
    const answer = await post("/v1/runs/cancel", { runs, reason: reason || "stopped on the page" });
    setFound(null);
    stopped();
    const accepted = answer.runs.filter((/** @type {any} */ run) => run.disposition === "accepted");
    const others = answer.runs.length - accepted.length;
    return `${accepted.length} are stopping` + (others ? `, ${others} were not to be stopped any more` : "");
  });
  if (!found) {
    // A stop of many knows no times: it would hit more than the list shows.
    const isByTime = TIMES.some((name) => filter[name]);
    return html`
      <p class="act">
        <button disabled=${isBusy || isByTime} onClick=${preview}>Stop what these filters mean…</button>
        <span role="status">${isByTime ? "Not by time: take the times out to stop many." : said}</span>
      </p>`;
  }
  const count = found.runs.length;
  return html`
    <section class="preview" aria-label="What would be stopped">
      <h3>${count ? `${count} ${count === 1 ? "run" : "runs"} would be stopped` : "Nothing would be stopped"}</h3>
      <ul>
        ${found.runs.slice(0, SHOWN).map((/** @type {any} */ run) =>
          html`<li>${sign(run.status)} ${run.id} <small>${run.component}, ${run.status}</small></li>`)}
        ${count > SHOWN && html`<li>and ${count - SHOWN} more</li>`}
      </ul>
      ${found.more && html`<p>There are more than one request stops: repeat it for the rest.</p>`}
      <label>Reason
        <input value=${reason} maxlength="500"
          onInput=${(/** @type {Event} */ event) => setReason(/** @type {HTMLInputElement} */ (event.target).value)} />
      </label>
      <button class="danger" disabled=${isBusy || !count} onClick=${stop}>Stop ${count}</button>
      <button onClick=${() => setFound(null)}>Leave them</button>
      <span role="status">${said}</span>
    </section>`;
}

/** The times of a filter, typed in the time of this place. @param {Filter} filter */
function timesOf(filter) {
  const instant = (/** @type {string} */ typed) => {
    const at = new Date(typed);
    return Number.isNaN(at.getTime()) ? "" : at.toISOString();
  };
  return { since: instant(filter.since), until: instant(filter.until) };
}

/** @param {Filter} filter */
function whereOf(filter) {
  /** @type {Record<string, unknown>} */
  const where = {};
  if (filter.status) where.status = [filter.status];
  for (const name of /** @type {const} */ (["kind", "component", "session", "owner", "lane"])) {
    if (filter[name]) where[name] = filter[name];
  }
  if (filter.label) {
    const [name, ...rest] = filter.label.split("=");
    where.labels = { [name ?? ""]: rest.join("=") };
  }
  return where;
}

/** Runs of one part of the list; the pause between two readings in milliseconds. */
const LIMIT = 100;
const EVERY = 1_000;

/** Runs that a preview names. */
const SHOWN = 20;
