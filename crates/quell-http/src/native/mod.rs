//! The native API.

mod openapi;
mod problems;
mod query;
mod router;
mod routes;
mod run_response;
mod upload;
mod wire;

pub use router::router;
