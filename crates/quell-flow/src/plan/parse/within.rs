//! [`Within`] is what belongs in a place of a plan, and what messages show of it.

use super::keys::{BRANCH_KEYS, PLAN_KEYS};
use super::kinds::{LOOP_KEYS, TEAM_KEYS};
use super::options::{PARALLEL_KEYS, RETRY_KEYS};
use super::tree::Value;
use super::unread::is_harmless;
use super::waits::WAIT_KEYS;
use crate::harmless::{is_component_name, is_of_plain_words, is_of_words};
use crate::plan::variable::is_variable;

/// What belongs in a place.
#[derive(Clone, Copy)]
pub(super) enum Within {
    /// A table with these keys.
    Table(&'static [&'static str]),
    /// Steps, or one.
    Steps,
    /// The options of a parallel step, or its branches.
    Parallel,
    /// A program and its arguments.
    Command,
    /// A name.
    Values,
    /// A description or a question.
    Prose,
    /// The name of a step, or a list of them.
    Reference,
    /// A time, a count, or one of a few words.
    Word,
    /// A condition or a choice.
    Expression,
    /// The name of a component.
    Component,
    /// The path of a folder.
    Folder,
    /// What a step takes: a text, or any values, which may be secrets.
    Input,
    /// What comes of a branch: a word, or a default.
    Choice,
    /// Variables.
    Env,
    /// The value of a variable.
    Variable,
    /// Nothing that is known: the value of an unknown key.
    Unknown,
    /// What is in such a value.
    Below,
}

impl Within {
    /// Yields what belongs to a key that its table has.
    pub(super) fn of(key: &str) -> Self {
        match key {
            "steps" | "sequence" | "branches" | "then" | "else" | "routes" | "members"
            | "on_failure" | "on_stop" => Self::Steps,
            "run" => Self::Command,
            "parallel" => Self::Parallel,
            "retry" => Self::Table(&RETRY_KEYS),
            "loop" => Self::Table(&LOOP_KEYS),
            "team" => Self::Table(&TEAM_KEYS),
            "wait" => Self::Table(&WAIT_KEYS),
            "workflow" => Self::Table(&PLAN_KEYS),
            "env" => Self::Env,
            "input" | "default" => Self::Input,
            "on_branch_timeout" => Self::Choice,
            "component" => Self::Component,
            "cwd" => Self::Folder,
            "if" | "until" | "route" | "choose" | "delegate" => Self::Expression,
            "name" => Self::Values,
            "description" | "ask" => Self::Prose,
            "needs" | "otherwise" | "leader" => Self::Reference,
            _ => Self::Word,
        }
    }

    /// Yields the keys of a table in the place.
    pub(super) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Table(keys) => keys,
            Self::Steps => &BRANCH_KEYS,
            Self::Parallel => &PARALLEL_KEYS,
            _ => &[],
        }
    }

    /// Yields what a value is in that has an unknown key, or that is an item of a list.
    pub(super) const fn inside(self) -> Self {
        match self {
            Self::Input | Self::Choice | Self::Env | Self::Variable => Self::Variable,
            Self::Unknown | Self::Below => Self::Below,
            _ => Self::Unknown,
        }
    }

    /// Tells whether a scalar is hidden.
    pub(super) fn hides(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Env | Self::Variable | Self::Unknown | Self::Below, _)
            | (Self::Table(_) | Self::Steps | Self::Parallel, Value::Text(_)) => true,
            (Self::Component, Value::Text(name)) => !is_component_name(name),
            (Self::Reference, Value::Text(name)) => {
                !is_component_name(name) && !is_of_plain_words(name)
            }
            (Self::Folder | Self::Choice | Self::Word, Value::Text(text)) => {
                !is_of_plain_words(text)
            }
            _ => false,
        }
    }

    /// Tells whether a key is shown.
    pub(super) fn shows_key(self, key: &str) -> bool {
        match self {
            Self::Variable | Self::Below => is_harmless(key),
            Self::Input | Self::Choice | Self::Env | Self::Unknown => is_named(key),
            _ => self.keys().contains(&key) || is_named(key) || is_dashed(key),
        }
    }
}

/// Tells whether a key may be the name of a variable, and looks like words: a secret may stand in
/// the place of a key as well.
fn is_named(key: &str) -> bool {
    is_variable(key) && is_of_words(key)
}

/// Tells whether a key is two or three words as those of other tools: `timeout-minutes`.
fn is_dashed(key: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    key.split('-').all(is_word) && (2..=3).contains(&key.split('-').count())
}
