//! [`plan`] parses a plan.
//!
//! `json`, `toml` and `yaml` parse a text into a `tree`, in which every value has its place.
//! `reader` makes the plan of the tree: `kinds` reads each kind of step but commands, which
//! `command` reads, `options` the options of parallel steps and retries, `fields` single values.
//! `names` holds the names that expressions may read, `needs` what branches need of each other.

mod command;
mod fault;
mod fields;
mod json;
mod keys;
mod kinds;
mod names;
mod needs;
mod options;
mod reader;
mod shell;
mod text;
mod toml;
mod tree;
mod yaml;

pub(super) use text::plan;
