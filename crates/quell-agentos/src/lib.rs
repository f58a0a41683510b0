//! The run endpoints of Agno `AgentOS` on top of quell, as an axum router.
//!
//! Spoken to with agno 3.1.10: `agno.client.AgentOSClient` of that version starts, streams, reads
//! and cancels runs of agents, teams and workflows through it unchanged, and so does agent-ui.
//!
//! Served: create (form, urlencoded or multipart; streamed, waited for, or in the background), read
//! one run, list those of a session, cancel, continue a paused one, resume the stream of one in the
//! background, the web socket of workflows, sessions, the lists of components, `/config`,
//! `/health`, `/info`, `/`, and what describes all that: `/openapi/agentos.json`. Memories,
//! knowledge, evals, traces and metrics are lists without rows. Never served: checkpoints, fork,
//! schedules.
//!
//! A server that drives connections itself has to let them change their protocol, for the web
//! socket; that of axum does. [`quell_http::Service::drain`] closes the sockets.
//!
//! The chapter [`contract`] says in full what is answered, and why.
//!
//! Where it differs from upstream on purpose: a cancel stops the work, silent awaits included; the
//! answer to it says in `quell-disposition` what it did; a cancelled stream ends with one terminal
//! event ([`Options::completed_sentinel`] adds upstream's second one); an unknown run is a 404
//! ([`UnknownRuns`]); a run id in use is refused; a client that leaves an inline run cancels it.
//!
//! # What a body gets
//!
//! The message, as text, if the form holds nothing but declared fields; otherwise an object of all
//! other fields as keywords, and the message under `message`. `run_id` and `quell_*` fields are no
//! keywords. Uploads are keyword `files`: `{filename, content_type, content}` with base64.
//!
//! # How a tree is shown
//!
//! Runs of kind agent, team and workflow are themselves. A run of kind `step` or `branch` within a
//! workflow is a step, or a Parallel if the workflow's list of steps says so of that name; an agent
//! below it is the step's executor, and a step without one is a function. Other runs are not shown.
//! A reader that is too slow gets the event `lagged` with `missed_events` where events are missing,
//! which clients of the contract skip. Every terminal event has the whole text; if that is not
//! whole either, `quell.truncated` of the event and of the run is true.
//!
//! A client that waits for a run in the foreground also waits for room for its answer, for half a
//! minute. If there is none by then, the answer is the run without what it was given and has said,
//! and `quell.truncated` is true: the whole run can be read by its id, as long as it is kept. Ended
//! runs are kept within a bound of which every owner has a share: those of the same owner that end
//! later may take its place, also while the client waits.
//!
//! # Who owns what
//!
//! The rooms of this crate, that is its folders and the files beside them. Each uses only rooms
//! that stand below it in this table; `tidy` checks that.
//!
//! | room | what it owns |
//! |---|---|
//! | `routes` | the router, and for each request: who asks, what is asked, one call, the answer |
//! | `auth` | what a caller may do with a component, and the static key of the options |
//! | `cors` | which web pages may read answers |
//! | `stream` | the events of a run as server-sent events |
//! | `ends` | the last of these events, which hold all that a run has said |
//! | `answer_form` | the fields of a request that continues a run |
//! | `form` | the fields of a request that creates a run |
//! | `app` | the state of the routes; how a run is found |
//! | `lines` | how many lines the events of background runs have made, for their numbers |
//! | `begin` | where a stream begins, and what is known of the events before |
//! | `heard` | that what clients are told of a run is in the store before |
//! | `sessions` | what sessions there are, as their runs tell; their names, and their deletion |
//! | `snapshot` | what is shown of a run, read at one instant |
//! | `options` | what an embedder chooses |
//! | `wire` | what is on the wire: pure functions from requests, and to answers |

mod answer_form;
mod app;
mod auth;
mod begin;
mod cors;
mod ends;
mod form;
mod heard;
mod lines;
mod options;
mod routes;
mod sessions;
mod snapshot;
mod stream;
mod wire;

#[doc = include_str!("contract.md")]
pub mod contract {}

pub use options::{CONTRACT, Options, UnknownRuns};
pub use routes::{absent, document, info, router, routes};
pub use wire::nothing::metrics;
