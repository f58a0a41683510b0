//! What is still alive of a process group, and of what left it.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod found;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
use elsewhere as system;
#[cfg(target_os = "linux")]
use linux as system;

pub(crate) use found::{MARKS, Sought, Strays, Survivors};
pub(crate) use system::{
    Led, began, condemn, find, find_blocking, find_each, holders, is_blind, lead, new_mark, prepare,
};
