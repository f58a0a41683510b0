// @ts-check
// The tree of a run as the page knows it: read once by pages, then changed by events.

import { isOver } from "./format.js";

/** @typedef {import("./types.js").Row} Row */
/** @typedef {import("./types.js").RunEvent} RunEvent */

export class Tree {
  constructor() {
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    /** @type {Map<string | null, string[]>} */
    this.below = new Map();
    /** The rows in pre-order; empty when it has to be made again. @type {Row[]} */
    this.order = [];
    /** How many runs of the tree were not here when it was read. */
    this.leftOut = 0;
    /** Those of which events tell. @type {Set<string>} */
    this.unseen = new Set();
  }

  /** Yields how many runs of the tree are not here. */
  get left() {
    return Math.max(this.leftOut, this.unseen.size);
  }

  /** Takes in a row that was read. @param {Row} row */
  put(row) {
    const known = this.rows.get(row.uuid);
    if (known) {
      Object.assign(known, row);
      return;
    }
    if (this.rows.size >= ROWS_MAX) {
      this.unseen.add(row.uuid);
      return;
    }
    this.rows.set(row.uuid, row);
    const siblings = this.below.get(row.parent) ?? [];
    siblings.push(row.uuid);
    this.below.set(row.parent, siblings);
    this.order = [];
  }

  /** Takes in an event. @param {RunEvent} event */
  take(event) {
    if (event.event === "queued") {
      // What was read of a row is newer, and more than its events tell.
      if (!this.rows.has(event.run)) this.put(queued(event, this.rows.get(event.data.parent)));
      return;
    }
    const row = this.rows.get(event.run);
    if (row) change(row, event);
  }

  /** Yields the rows in pre-order, without those below what is folded. @param {Set<string>} folded */
  visible(folded) {
    if (!this.order.length) this.order = this.inOrder();
    if (!folded.size) return this.order;
    /** @type {Row[]} */
    const shown = [];
    let hidden = Infinity;
    for (const row of this.order) {
      if (row.depth > hidden) continue;
      hidden = folded.has(row.uuid) ? row.depth : Infinity;
      shown.push(row);
    }
    return shown;
  }

  /** @returns {Row[]} */
  inOrder() {
    /** @type {Row[]} */
    const order = [];
    const tops = [...this.rows.values()].filter((row) => !row.parent || !this.rows.has(row.parent));
    const todo = tops.reverse();
    for (let row = todo.pop(); row; row = todo.pop()) {
      order.push(row);
      const below = this.below.get(row.uuid) ?? [];
      for (let nth = below.length - 1; nth >= 0; nth -= 1) {
        const child = this.rows.get(/** @type {string} */ (below[nth]));
        if (child) todo.push(child);
      }
    }
    return order;
  }

  /** @param {string} uuid */
  hasBelow(uuid) {
    return this.below.has(uuid);
  }
}

/** @param {RunEvent} event @param {Row | undefined} parent @returns {Row} */
function queued(event, parent) {
  return {
    uuid: event.run,
    parent: event.data.parent,
    depth: parent ? parent.depth + 1 : 0,
    kind: event.data.kind,
    name: event.data.name,
    status: "queued",
    cause: null,
    aborted: false,
    quiescent: false,
    abandoned: [],
    queued_at: event.at,
    started_at: null,
    stopped_at: null,
    ended_at: null,
    quiesced_at: null,
    error: null,
  };
}

/** @param {Row} row @param {RunEvent} event */
function change(row, event) {
  const { at, data } = event;
  switch (event.event) {
    case "started":
      row.started_at ??= at;
      if (!isOver(row.status)) row.status = "running";
      break;
    case "paused":
      row.status = "paused";
      break;
    case "resumed":
      row.status = "queued";
      break;
    case "stopping":
      row.stopped_at ??= at;
      row.cause ??= data;
      if (!isOver(row.status)) row.status = "stopping";
      break;
    case "aborted":
      row.aborted = true;
      break;
    case "abandoned":
      if (!row.abandoned.includes(data.name)) row.abandoned.push(data.name);
      break;
    case "ended":
      row.status = data;
      row.ended_at ??= at;
      // One that has left something says `quiesced` later.
      row.quiescent = row.abandoned.length === 0;
      break;
    case "quiesced":
      row.quiescent = true;
      row.quiesced_at ??= at;
      break;
    default:
  }
}

/** Rows of a tree that are kept, as a report has at most. */
export const ROWS_MAX = 10_000;
