//! The parser of plans.
//!
//! `json`, `toml` and `yaml` parse a text into the one `tree`, in which every value knows its
//! place. `reader` makes the plan of it: `kinds` reads what each kind of step does, `options` the
//! options of parallel steps and retries, `fields` single values; `names` says what expressions
//! may read.

mod fault;
mod fields;
mod json;
mod kinds;
mod names;
mod options;
mod reader;
mod text;
mod toml;
mod tree;
mod yaml;

pub(super) use text::plan;
