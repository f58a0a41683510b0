// @ts-check
// The tree of a run and its waterfall over time. Of thousands of rows those are drawn that are seen.

import { html, useRef, useState } from "./vendor/htm-preact.js";
import { clock, isDone, ms, sign, span, why } from "./format.js";

/** The height of a row in pixels, as in the style sheet. */
const HEIGHT = 26;

/** Rows that are seen at once at most. */
const ROWS_SEEN = 18;

/** Rows that are drawn beyond those that are seen. */
const BEYOND = 12;

/**
 * @param {{tree: import("./model.js").Tree, now: number, version: number}} props `version` tells
 *   that the tree has changed
 */
export function TreeView({ tree, now }) {
  const [folded, setFolded] = useState(/** @type {Set<string>} */ (new Set()));
  const [at, setAt] = useState(0);
  const [chosen, setChosen] = useState(0);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const rows = tree.visible(folded);
  const height = ROWS_SEEN * HEIGHT;
  const first = Math.max(0, Math.floor(at / HEIGHT) - BEYOND);
  const last = Math.min(rows.length, Math.ceil((at + height) / HEIGHT) + BEYOND);
  const scale = scaleOf(tree, now);
  const fold = (/** @type {string} */ uuid, /** @type {boolean} */ isFolded) => {
    const now = new Set(folded);
    if (isFolded) now.add(uuid);
    else now.delete(uuid);
    setFolded(now);
  };
  const press = (/** @type {KeyboardEvent} */ event) => {
    const row = rows[chosen];
    const steps = /** @type {Record<string, number>} */ ({
      ArrowDown: chosen + 1, ArrowUp: chosen - 1, Home: 0, End: rows.length - 1,
      PageDown: chosen + Math.floor(height / HEIGHT), PageUp: chosen - Math.floor(height / HEIGHT),
    });
    if (event.key in steps) move(Math.max(0, Math.min(rows.length - 1, steps[event.key] ?? 0)));
    else if (event.key === "ArrowLeft" && row) fold(row.uuid, true);
    else if (event.key === "ArrowRight" && row) fold(row.uuid, false);
    else return;
    event.preventDefault();
  };
  const move = (/** @type {number} */ to) => {
    setChosen(to);
    const element = box.current;
    if (!element) return;
    if (to * HEIGHT < element.scrollTop) element.scrollTop = to * HEIGHT;
    const below = (to + 1) * HEIGHT - element.clientHeight;
    if (below > element.scrollTop) element.scrollTop = below;
  };
  const active = rows[chosen];
  return html`
    <div class="tree" role="tree" tabindex="0" ref=${box} aria-label="Runs of the tree"
      style=${{ height: `${Math.min(rows.length, ROWS_SEEN) * HEIGHT + 2}px` }}
      aria-activedescendant=${active && chosen >= first && chosen < last ? `row-${active.uuid}` : undefined}
      onScroll=${(/** @type {Event} */ event) => setAt(/** @type {HTMLElement} */ (event.target).scrollTop)}
      onKeyDown=${press}>
      <div class="all" role="presentation" style=${{ height: `${rows.length * HEIGHT}px` }}>
        ${rows.slice(first, last).map((row, nth) => html`
          <${RowView} key=${row.uuid} row=${row} top=${(first + nth) * HEIGHT} now=${now} scale=${scale}
            isChosen=${first + nth === chosen} choose=${() => setChosen(first + nth)}
            folds=${tree.hasBelow(row.uuid)} isFolded=${folded.has(row.uuid)}
            fold=${(/** @type {boolean} */ isFolded) => fold(row.uuid, isFolded)} />`)}
      </div>
    </div>
    ${active && html`<${Chosen} row=${active} now=${now} />`}`;
}

/** @param {any} props */
function RowView({ row, top, now, scale, isChosen, choose, folds, isFolded, fold }) {
  const isLeft = row.ended_at && !row.quiescent;
  const name = `${row.name}${isLeft ? " executes still" : ""}, ${row.kind}, ${row.status}`;
  return html`
    <div class=${`row ${row.status} ${isChosen ? "chosen" : ""}`} id=${`row-${row.uuid}`} role="treeitem"
      aria-level=${row.depth + 1} aria-selected=${isChosen} aria-label=${name}
      aria-expanded=${folds ? !isFolded : undefined}
      style=${{ transform: `translateY(${top}px)` }} onClick=${choose}>
      <span class="name" style=${{ paddingLeft: `${Math.min(row.depth, DEPTH_MAX) * 14}px` }}>
        <span class="fold" onClick=${() => folds && fold(!isFolded)}>${folds ? (isFolded ? "▸" : "▾") : ""}</span>
        <span class="sign">${sign(row.status)}</span> ${row.name}${isLeft && html` <b class="warn">executes still</b>`}
      </span>
      <${Bar} row=${row} now=${now} scale=${scale} />
    </div>`;
}

/** The waterfall of one run: it waited, worked, and stopped. @param {any} props */
function Bar({ row, now, scale }) {
  const end = isDone(row) ? ms(row.quiesced_at ?? row.ended_at) : now;
  const queued = ms(row.queued_at);
  const started = row.started_at ? ms(row.started_at) : end;
  const stopped = row.stopped_at ? Math.max(ms(row.stopped_at), started) : end;
  const part = (/** @type {string} */ name, /** @type {number} */ from, /** @type {number} */ to) =>
    to > from && html`<i class=${name} style=${{ left: `${scale(from)}%`, width: `${Math.max(0.2, scale(to) - scale(from))}%` }}></i>`;
  return html`
    <span class="bar" aria-hidden="true">
      ${part("waited", queued, Math.min(started, end))}
      ${part("worked", started, Math.min(stopped, end))}
      ${part("stopped", stopped, end)}
    </span>`;
}

/** What is known of the row that is chosen. @param {any} props */
function Chosen({ row, now }) {
  return html`
    <dl class="chosen-row" aria-live="polite">
      <dt>${row.kind} ${row.name}</dt>
      <dd>${sign(row.status)} ${row.status}${row.aborted ? ", aborted" : ""}${row.ended_at ? (row.quiescent ? ", quiescent" : ", something executes still") : ""}</dd>
      ${row.cause && html`<dt>Stopped</dt><dd>${clock(row.stopped_at)}, ${why(row.cause)}</dd>`}
      ${row.abandoned.length > 0 && html`<dt>Abandoned</dt><dd class=${row.quiescent ? "" : "warn"}>${row.abandoned.join(", ")}${row.quiescent ? ", which has ended since" : ""}</dd>`}
      ${row.error && html`<dt>Error</dt><dd class="error">${row.error}</dd>`}
      <dt>Worked</dt><dd>${row.started_at ? span((row.ended_at ? ms(row.ended_at) : now) - ms(row.started_at)) : "not yet"}</dd>
      <dt>Run</dt><dd><code>${row.uuid}</code></dd>
    </dl>`;
}

/**
 * Makes what turns a time into its place in the waterfall, in percent.
 * @param {import("./model.js").Tree} tree @param {number} now
 */
function scaleOf(tree, now) {
  const [root] = tree.visible(new Set());
  const from = root ? ms(root.queued_at) : now;
  const to = root && isDone(root) ? ms(root.quiesced_at ?? root.ended_at) : now;
  const all = Math.max(1, to - from);
  return (/** @type {number} */ at) => Math.max(0, Math.min(100, (100 * (at - from)) / all));
}

/** Deeper rows stand no further to the right. */
const DEPTH_MAX = 24;
