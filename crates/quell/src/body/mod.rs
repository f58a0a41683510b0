//! What runs in a run: its body, blocking closures and tool calls.

mod annotate;
pub(crate) mod context;
pub(crate) mod driver;
mod hold;
mod hooks;
mod past;
mod pause;
mod save;
pub(crate) mod tool;
pub(crate) mod usage;
pub(crate) mod work;
