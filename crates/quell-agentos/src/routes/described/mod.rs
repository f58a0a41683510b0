//! The routes and the document that describes them, both made from one table.
#![expect(
    clippy::needless_pass_by_value,
    reason = "a schema is made where it is used, and written into another one"
)]

mod answers;
mod bodies;
mod dialect;
mod nothing;
mod sessions;
mod table;

pub(super) use dialect::Routes;
pub use table::document;
pub(super) use table::{of_contract, shared};
