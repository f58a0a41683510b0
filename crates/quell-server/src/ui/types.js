// @ts-check
// The shapes of what the native API answers, as far as the page reads them. `/openapi.json` of the
// server has all of it.

/**
 * @typedef {object} Cause
 * @property {string} kind
 * @property {string | null} message
 * @property {string | null} by
 * @property {string} at
 * @property {string | null} origin
 *
 * @typedef {object} Work
 * @property {string} name
 * @property {string} what
 * @property {string} [run]
 * @property {string | null} [since]
 *
 * @typedef {object} Row
 * @property {string} uuid
 * @property {string | null} parent
 * @property {number} depth
 * @property {string} kind
 * @property {string} name
 * @property {string} status
 * @property {Cause | null} cause
 * @property {boolean} aborted
 * @property {boolean} quiescent
 * @property {string[]} abandoned by name; of a quiescent one it has ended since
 * @property {string} queued_at
 * @property {string | null} started_at
 * @property {string | null} stopped_at
 * @property {string | null} ended_at
 * @property {string | null} quiesced_at
 * @property {string | null} error
 *
 * @typedef {object} RunEvent
 * @property {number} seq
 * @property {string} root
 * @property {string} run
 * @property {string} at
 * @property {string} event
 * @property {any} [data]
 *
 * @typedef {object} Standing
 * @property {number} live
 * @property {number} signalled
 * @property {Work[]} cleaning_up
 * @property {string | null} hard_deadline
 * @property {string | null} given_up_at
 * @property {{name: string, run: string}[]} aborted
 * @property {Work[]} abandoned
 * @property {boolean} [of_store] as far as the store tells: another node has the run
 * @property {boolean} [more] there may be more of all
 *
 * @typedef {object} Stop
 * @property {string} id
 * @property {string} name
 * @property {string} root
 * @property {string} status
 * @property {Cause | null} cause
 * @property {string | null} accepted_at
 * @property {string | null} recorded_at
 * @property {string | null} [node]
 * @property {Standing | null} standing
 */

export {};
