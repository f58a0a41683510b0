//! Named components, for those who start runs by name: adapters, the command line.

mod component;
mod contract;
mod kind;
mod part;
mod reducer;
mod registry;

pub use component::{COMPONENT, Component};
pub use contract::Contract;
pub use kind::ComponentKind;
pub use part::{Model, Part};
pub use reducer::{Reducer, Reducers};
pub use registry::Catalog;
