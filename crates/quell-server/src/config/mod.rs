//! `quell.toml`: what is served, to whom, and with which options.

mod access;
mod catalog;
mod components;
mod file;
mod server;
mod set;
mod teams;

pub(crate) use catalog::catalog;
pub(crate) use file::Config;
pub(crate) use set::Setting;
