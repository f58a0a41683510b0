//! [`Catalog`] holds named components, so that adapters and the command line can start runs by
//! name.

mod component;
mod contract;
mod history;
mod kind;
mod lasting;
mod nodes;
mod part;
mod recovery;
mod reducer;
mod registry;
mod shown;
mod stand_in;
mod start;
mod unresumed;

pub use component::Component;
pub use contract::Contract;
pub use kind::ComponentKind;
pub use lasting::OnWorkerLost;
pub(crate) use lasting::{Attempts, Behind, Lasting};
pub use part::{Model, Part};
pub use reducer::{Reducer, Reducers};
pub use registry::{Catalog, unknown_component};
pub use start::COMPONENT;
