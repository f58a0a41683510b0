//! The routes of a contract and its `OpenAPI` document, both made from one table.
//!
//! A table is a [`Routes`]: its paths, each with its [`Operation`]s. [`schema`] has the shapes that
//! contracts write alike. What a contract says alike of all its operations is its [`Dialect`].
#![expect(
    clippy::needless_pass_by_value,
    reason = "a schema is made where it is used, and written into another one"
)]

mod dialect;
mod operation;
mod routes;
pub mod schema;

pub use dialect::Dialect;
pub use operation::{Operation, delete, get, patch, post, put};
pub use routes::Routes;
