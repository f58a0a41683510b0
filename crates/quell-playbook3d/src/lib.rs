//! The run endpoints of `Playbook3D` as an axum `Router`.
//!
//! Made from the vendor's `OpenAPI` document of `POST /cancel/{team_id}/{run_id}` (version 1.0),
//! its page for `run_workflow`, and the sources of its Python and Unity SDKs; nothing was compared
//! with the live service.
//!
//! **Served**, below the two prefixes of [`Options`]: tokens and SDK secrets, `get_run_id`,
//! `run_workflow` with the caller's id or without, `cancel`, the lists of runs, teams and
//! workflows, a run's result; and beside them `/openapi.json`, which describes all that. Every run
//! object and result body carries the side channel `quell`, and every answer to a cancel the header
//! `quell-disposition`.
//!
//! **Not served**: Socket.IO, the stream of status changes, asset upload, users. Those paths are
//! answered 404 with the contract's body.
//!
//! The chapter [`contract`] says in full what is answered, and why.
//!
//! Without access control on the service, no credentials are needed and every caller is a member of
//! every team: listen on loopback only then. The key in the paths of tokens and secrets is a
//! secret: nothing here logs a path, and a layer around the router must not either.
//!
//! # Who owns what
//!
//! The rooms of this crate, that is its folders and the files beside them. Each uses only rooms
//! that stand below it in this table; `tidy` checks that.
//!
//! | room | what it owns |
//! |---|---|
//! | `routes` | the router, and for each request: who asks, what is asked, one call, the answer |
//! | `app` | the state of the routes; how a request finds its team, its quota and its run |
//! | `auth` | who holds a key or a token, and the tokens that are made |
//! | `directory` | the teams and workflows of the service, and who may see which |
//! | `tickets` | run ids that are handed out before there is a run |
//! | `options` | what an embedder chooses |
//! | `wire` | what is on the wire: pure functions from requests, and to answers |
//!
//! # Examples
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use axum::Router;
//! use quell::{Engine, Payload};
//! use quell_flow::{Catalog, Component};
//! use quell_http::Service;
//! use quell_playbook3d::{Options, router};
//!
//! let catalog = Catalog::new()
//!     .with(Component::workflow("render", async |_ctx, inputs: Payload| Ok(inputs)));
//! let service = Service::new(Engine::new(), catalog);
//! let app: Router = Router::new().nest("/playbook3d", router(service, Options::default()));
//! # drop(app);
//! # });
//! ```

mod app;
mod auth;
mod directory;
mod options;
mod routes;
mod tickets;
mod wire;

#[doc = include_str!("contract.md")]
pub mod contract {}

pub use options::{CONTRACT, Operation, Options, Team, Verdict, Workflow};
pub use routes::{document, router};
