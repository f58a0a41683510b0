//! Real processes, most of them shell scripts.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

#[cfg(target_os = "linux")]
mod adopted;
mod ends;
mod events;
mod example;
#[cfg(target_os = "linux")]
mod first_thread;
#[cfg(target_os = "linux")]
mod hidden;
#[cfg(target_os = "linux")]
mod hydra;
#[cfg(target_os = "linux")]
mod namespaces;
mod protocol;
#[cfg(target_os = "linux")]
mod refused;
#[cfg(target_os = "linux")]
mod regrouped;
mod starts;
mod stops;
#[cfg(target_os = "linux")]
mod storm;
#[cfg(target_os = "linux")]
mod strangers;
#[cfg(target_os = "linux")]
mod subscribers;
mod support;
#[cfg(target_os = "linux")]
mod threads;
#[cfg(target_os = "linux")]
mod wakers;
