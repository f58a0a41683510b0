//! The native API.

mod extract;
mod health;
mod limits;
mod openapi;
mod pausing;
mod problems;
mod query;
mod router;
mod routes;
mod run_response;
mod wire;

pub use router::{document, no_such_path, router, routes};
