//! The routes and the document that describes them, both made from one table.

mod dialect;
mod schemas;
mod table;

pub use table::document;
pub(super) use table::table;
