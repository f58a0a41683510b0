//! [`Within`] and [`Shown`]: what the keys of a configuration are, and what messages show of their
//! values.

use quell_flow::{is_env, is_variable, plain_begin, program_of};

use crate::quoted::{address_begin, harmless_begin, is_surely_variable};

/// What the keys of a table are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// Those of the configuration.
    Known,
    /// Ids of components.
    Ids,
    /// Numbers of runs, and tables of them.
    Limits,
    /// Any, with the names of variables as values.
    Variables,
    /// Any, with words as values.
    Words,
    /// Variables of a program, which may be secrets.
    Env,
    /// Any in the value of a variable: all of it may be a secret.
    Secret,
    /// Any, with any values.
    Foreign,
}

/// What is shown of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    All,
    /// A number; of a text in its place nothing.
    Number,
    /// The scheme, host and port of an address, and words of its path.
    Address,
    /// The first item of a list: a program without its arguments.
    Command,
    /// What is surely a program.
    Program,
    /// What is surely the name of a variable.
    Variable,
    /// What looks like words.
    Words,
    Nothing,
}

impl Shown {
    /// Yields the begin of a text that is shown. Quotes that are not closed take in the lines
    /// behind the first.
    pub(super) fn begin(self, text: &str) -> &str {
        let line = text.split(['\n', '\r']).next().unwrap_or_default();
        let is_shown = match self {
            Self::All => return harmless_begin(text),
            Self::Program => return program_of(line),
            Self::Address => return address_begin(line),
            Self::Variable => is_surely_variable(text),
            Self::Words => plain_begin(text).len() == text.len(),
            Self::Command | Self::Number | Self::Nothing => false,
        };
        if is_shown { line } else { "" }
    }
}

impl Within {
    /// Yields what the keys of a table with this key are.
    pub(super) fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Ids, _) => Self::Known,
            (Self::Known, "agents" | "teams" | "workflows") => Self::Ids,
            (Self::Known, "limits") | (Self::Limits, _) => Self::Limits,
            (Self::Known, "headers_env") => Self::Variables,
            (Self::Known, "reducers") => Self::Words,
            (Self::Env | Self::Secret, _) => Self::Secret,
            (Self::Known | Self::Foreign, _) if is_env(key) => Self::Env,
            (Self::Known, _) if TABLES.contains(&key) => Self::Known,
            _ => Self::Foreign,
        }
    }

    /// Yields what is shown of a value with this key.
    pub(super) fn shown(self, key: &str) -> Shown {
        match self {
            Self::Known if HARMLESS.contains(&key) => Shown::All,
            Self::Known if WORDS.contains(&key) => Shown::Words,
            Self::Known | Self::Limits if NUMBERS.contains(&key) => Shown::Number,
            Self::Known if ADDRESSES.contains(&key) => Shown::Address,
            Self::Known if key == "run" => Shown::Command,
            Self::Known if key.ends_with("_env") => Shown::Variable,
            Self::Variables => Shown::Variable,
            Self::Words => Shown::Words,
            Self::Known | Self::Ids | Self::Limits | Self::Env | Self::Secret | Self::Foreign => {
                Shown::Nothing
            }
        }
    }

    /// Tells whether a key is shown that looks like words. One of `env` that is no name of a
    /// variable may have the value in it.
    pub(super) fn shows_key(self, key: &str) -> bool {
        match self {
            Self::Env => is_variable(key),
            Self::Secret => false,
            Self::Known
            | Self::Ids
            | Self::Limits
            | Self::Variables
            | Self::Words
            | Self::Foreign => true,
        }
    }
}

/// Yields the begin of a text with these keys that is shown.
pub(super) fn begin_of<'t>(keys: &[String], text: &'t str) -> &'t str {
    match shown_of(keys) {
        shown @ (Shown::All | Shown::Words) => shown.begin(text),
        _ => "",
    }
}

/// Tells whether a number with these keys may be a secret.
pub(super) fn hides_number(keys: &[String]) -> bool {
    !matches!(shown_of(keys), Shown::All | Shown::Words | Shown::Number)
}

fn shown_of(keys: &[String]) -> Shown {
    let Some((last, tables)) = keys.split_last() else { return Shown::Nothing };
    within(tables).shown(last)
}

/// Tells whether a message may name the last of these keys, if it looks like words.
pub(super) fn shows_key(keys: &[String]) -> bool {
    keys.split_last().is_none_or(|(last, tables)| within(tables).shows_key(last))
}

/// Yields what the keys of the innermost of these tables are.
fn within(tables: &[String]) -> Within {
    tables.iter().fold(Within::Known, |within, key| within.below(key))
}

/// Keys of tables whose keys are known.
const TABLES: [&str; 9] =
    ["agentos", "keys", "langgraph", "model", "playbook3d", "server", "store", "tls", "tokens"];

/// Keys of times and words: a value that looks like neither was meant for another key.
const WORDS: [&str; 20] = [
    "abort_wait",
    "admin",
    "algorithm",
    "cancel_timeout",
    "close_brackets",
    "completed_sentinel",
    "confirm",
    "connect_timeout",
    "grace",
    "idle",
    "keep",
    "lease",
    "mode",
    "on_member_failed",
    "on_member_stopped",
    "on_worker_lost",
    "read_only",
    "timeout",
    "unknown_runs",
    "unmasked_errors",
];

/// Keys whose values are no secrets: names, kinds, scopes and paths.
const HARMLESS: [&str; 36] = [
    "accounts_prefix",
    "api_prefix",
    "audiences",
    "cert_file",
    "choose",
    "component",
    "contracts",
    "cors_origins",
    "cwd",
    "db_id",
    "default_scopes",
    "end_event",
    "error_codes",
    "id",
    "issuer",
    "jwks_file",
    "key_file",
    "leader",
    "listen",
    "members",
    "name",
    "node",
    "os_id",
    "path",
    "plan",
    "provider",
    "public_key_file",
    "scopes",
    "subject",
    "subject_claim",
    "teams",
    "timeout_error",
    "trusted_hosts",
    "trusted_origins",
    "webhook_hosts",
    "without_credits",
];

/// Keys of numbers.
const NUMBERS: [&str; 27] = [
    "cancel_wait_ms",
    "cron_bytes_max",
    "cron_interval_min_ms",
    "crons_max",
    "crons_owner_max",
    "grace_max_ms",
    "heartbeat_ms",
    "history",
    "items_owner_bytes_max",
    "items_owner_max",
    "keep_mib",
    "keep_runs",
    "max",
    "max_tokens",
    "memory_mib",
    "queued",
    "quiescent_wait_max_ms",
    "retries",
    "running",
    "running_max",
    "settle_ms",
    "temperature",
    "timeout_max_ms",
    "token_life_ms",
    "webhook_attempts",
    "webhook_timeout_ms",
    "webhooks_max",
];

/// Keys of addresses.
const ADDRESSES: [&str; 4] = ["url", "cancel", "jwks_url", "public_url"];
