//! [`plan`] parses a plan.
//!
//! `json`, `toml` and `yaml` parse a text into a `tree`, in which every value has its place.
//! `reader` makes the plan of the tree: `kinds` reads each kind of step but commands, which
//! `command` reads, `options` the options of parallel steps and retries, `fields` single values.
//! `names` holds the names that expressions may read, `shape` what is known of the outputs behind
//! them, and `outputs` checks what is read of these. `whole` refuses `steps`
//! alone. `needs` holds what branches need of each other, `guesses` how much is guessed, `notes`
//! what is wrong. `hints` says what is right instead
//! of a mistake, `bad` what is wrong with a template. `waits` reads steps that wait for an answer.
//! `masked`, `within`, `stars` and `unread` are the text that messages show. `shell` and
//! `unshelled` warn of what a shell would read, which `scripts` finds, or would have to.

mod bad;
mod command;
#[cfg(test)]
mod damaged;
mod fault;
mod fields;
mod guesses;
mod hints;
mod json;
mod keys;
mod kinds;
mod masked;
mod names;
mod needs;
mod notes;
mod options;
mod outputs;
mod places;
mod reader;
mod scripts;
mod shape;
mod shell;
mod stars;
mod text;
mod toml;
mod tree;
mod unread;
mod unshelled;
mod waits;
mod whole;
mod within;
mod yaml;

pub(super) use text::plan;
