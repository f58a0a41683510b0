//! The run API of `LangGraph` Agent Server, on the quell engine, as an axum `Router`.
//!
//! Tested against langgraph-api 0.16.7 and its clients `langgraph-sdk` 0.4.14 (Python) and
//! `@langchain/langgraph-sdk` 2.0.0 (JavaScript).
//!
//! The chapter [`contract`] says in full what is answered, and why.
//!
//! # What is compatible
//!
//! - `GET /ok`, `/info`, `/openapi.json`; assistants: create, get, update, versions, delete,
//!   search, count, and the drawing of a graph, beside the system assistant of every component.
//! - Threads: create, get, update, delete, search, count, copy, with `if_exists` and `ttl`. Their
//!   status is computed from their runs. A deleted one stops its runs, and leaves nothing behind.
//! - The key-value store: put, get, delete and search items, list namespaces; no embedding.
//! - States: what each run left, and each step of a graph with nodes
//!   ([`Component::nodes`](quell_flow::Component::nodes)), with its parent: get, list, change,
//!   fork. Null input goes on in the node that was cut; `interrupt_before`, `interrupt_after`,
//!   `command.goto` and `command.update`.
//! - Crons: create, of a thread too, get, update, delete, search, count. Each of their times makes
//!   one run, on however many nodes and across a restart.
//! - Runs: create, stream, wait, join, join stream, get, list, cancel, delete; the stateless
//!   create, batch, stream and wait; `/metrics`; `POST /runs/cancel` by status and by ids.
//!   `multitask_strategy`, `after_seconds`, `on_disconnect`, `Idempotency-Key`, `stream_resumable`
//!   with `Last-Event-ID`, `webhook`.
//! - Values: a key is overwritten, or a list that is added to, of anything or of messages by their
//!   ids, if the graph says so with [`Component::reducer`](quell_flow::Component::reducer). What is
//!   no object, an answer or a state, is the key `output`: a program that prints `hi` leaves
//!   `{"output": "hi", "messages": [{"type": "ai", "content": "hi", …}]}`.
//! - Streams: a graph says `updates`, `values` and `custom` itself. One that only returns
//!   something counts as one node of its own name: what it returned is in `values`, `updates`,
//!   `tasks`, `debug`, `events` and `checkpoints` of its last step. Text that a body says is a
//!   message: in `messages-tuple` piece by piece, in `messages` as far as it has come, and whole
//!   when its run has ended. What it emits in a form of its own is `custom`, the lines of a program
//!   as well.
//! - A time limit and a grace per run, by `metadata.quell_timeout_ms` and `quell_grace_ms`.
//!
//! # What is not
//!
//! - A cancel really stops the work, waits as long as it says, and is answered the same when asked
//!   twice; `POST /runs/cancel` by status stops what it marks. Upstream does none of that.
//! - Without a store a resumable stream whose client comes back after more events than are held
//!   begins with `event: lagged`, `data: {"from": …, "to": …}`, the numbers of those dropped. Its
//!   values are those of the thread all the same, and the last ones are final. A reader too slow
//!   for the log gets the same event, and is disconnected. `quell.truncated` of a run, and
//!   `response_metadata.truncated` of a message, say that not all was kept of what it said.
//! - A graph that declares no nodes is one step, as are plans and teams: its state is that of a
//!   whole run, and one that was cut cannot go on on null input: it fails and says so. Tasks of a
//!   state have no `result`. A plan that was queued behind another run gets its own input only;
//!   what it shows is laid over what the thread has.
//! - A paused run goes on under its id when `command.resume` answers it; upstream makes a new run.
//! - The event-stream protocol v2, A2A and MCP answer 404.
//!
//! # Who owns what
//!
//! The rooms of this crate, that is its folders and the files beside them. Each uses only rooms
//! that stand below it in this table; `tidy` checks that.
//!
//! | room | what it owns |
//! |---|---|
//! | `routes` | the router, and for each request: who asks, what is asked, one call, the answer |
//! | `stream` | the events of a run as server-sent events, in every mode |
//! | `app` | the state of the routes; how runs are made, found, waited for, stopped and deleted |
//! | `threads` | what is kept of threads, of their runs, and of runs that were deleted |
//! | `values` | the values of a thread, and how a run changes them |
//! | `messages` | what a run said and what its caller said, as messages in the values |
//! | `webhooks` | what tells receivers the ends of runs, and how much of that waits |
//! | `options` | what an embedder chooses |
//! | `wire` | what is on the wire: pure functions from requests, and to answers |
//!
//! # Examples
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use quell::{Engine, Payload};
//! use quell_flow::{Catalog, Component};
//! use quell_http::Service;
//! use quell_langgraph::Options;
//!
//! let catalog = Catalog::new()
//!     .with(Component::workflow("echo", async |_ctx, input: Payload| Ok(input)));
//! let service = Service::new(Engine::new(), catalog);
//! let app: axum::Router = quell_langgraph::router(service, Options::default());
//! # drop(app);
//! # });
//! ```

mod app;
mod messages;
mod options;
mod routes;
mod stream;
mod threads;
mod values;
mod webhooks;
mod wire;

#[doc = include_str!("contract.md")]
pub mod contract {}

pub use options::{CONTRACT, Options};
pub use routes::{
    allow_origins, document, in_its_words, info, no_such_method, not_found, router, routes,
};
