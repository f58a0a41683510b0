//! What runs in a run: its body, hooks, blocking closures, tools, and what they say.

pub(crate) mod context;
pub(crate) mod driver;
pub(crate) mod hooks;
pub(crate) mod outputs;
pub(crate) mod shield;
pub(crate) mod tool;
pub(crate) mod usage;
pub(crate) mod work;
