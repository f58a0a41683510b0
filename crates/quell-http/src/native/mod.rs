//! The native API.

mod cancel_many;
mod components;
mod delete;
mod extract;
mod health;
mod limits;
mod list_runs;
mod log;
mod openapi;
mod pausing;
mod problems;
mod query;
mod router;
mod routes;
mod run_response;
mod stops;
mod tree;
mod wire;

pub use extract::NoQuery;
pub use router::{document, no_such_method, no_such_path, router, routes};
