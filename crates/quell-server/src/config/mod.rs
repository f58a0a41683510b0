//! `quell.toml`: what is served, to whom, and with which options.

mod access;
mod all_nodes;
mod catalog;
mod check;
mod components;
mod contracts;
#[cfg(test)]
mod damaged;
mod document;
mod elsewhere;
mod executables;
mod file;
mod harmless;
mod ids;
mod limits;
mod listen;
mod masked;
mod masked_lines;
mod mistaken;
mod model;
mod origins;
mod scopes;
mod server;
mod services;
mod set;
mod shapes;
mod sieve;
mod sort;
mod store;
mod teams;
mod tls;
mod tokens;
mod words;

pub(crate) use access::{Source, Trusted};
pub(crate) use catalog::{DEFAULT, catalog, default_file, linked};
pub(crate) use check::{Asked, Checked, Refused, in_order};
pub(crate) use executables::missing_of;
pub(crate) use file::Config;
pub(crate) use listen::{meant_address, parse as parse_address};
pub(crate) use mistaken::load_plan;
pub(crate) use set::Setting;
pub(crate) use store::AskedStore;
pub(crate) use tokens::PublishedKeys;
