//! A cluster in one process, on one store in memory: [`Nodes`].

mod acts;
mod node;
mod nodes;

pub use node::{Node, Trouble};
pub use nodes::Nodes;
