//! Named components, for those who start runs by name: adapters, the command line.

mod component;
mod part;
mod reducer;
mod registry;

pub use component::{COMPONENT, Component};
pub use part::{Model, Part};
pub use reducer::{Reducer, Reducers};
pub use registry::{Catalog, Contract};
