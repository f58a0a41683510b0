//! A cluster in one process, on one store in memory: [`Nodes`].

mod acts;
mod forgotten;
mod lanes;
mod member;
mod node;
mod nodes;
mod open_stops;
mod reads;
mod reserved;
mod slots;

pub use node::{Node, Trouble};
pub use nodes::Nodes;
