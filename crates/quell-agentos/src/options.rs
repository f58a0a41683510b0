//! [`Options`]: what the contract leaves to the embedder.

use std::fmt;
use std::time::Duration;

use quell_flow::Contract;
use serde::Deserialize;

/// What the contract leaves open.
///
/// Every field is a key of the table `[agentos]` of a configuration file, under the field's name;
/// durations are written in milliseconds, as `heartbeat_ms` and `quiescent_wait_max_ms`.
///
/// # Examples
///
/// ```
/// use quell_agentos::{Options, UnknownRuns};
///
/// let mut options = Options::default();
/// options.unknown_runs = UnknownRuns::Remember;
/// assert!(options.close_brackets && !options.completed_sentinel);
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Options {
    /// The id of this `AgentOS`. Defaults to `quell`.
    pub os_id: String,
    /// The name of this `AgentOS`. Defaults to `quell`.
    pub name: String,
    /// What this `AgentOS` is for, as `/config` says. Defaults to none.
    pub description: Option<String>,
    /// The database that components name, as agent-ui asks for it. Defaults to `quell`.
    pub db_id: String,
    /// What a cancel of a run that is not there does. Defaults to [`UnknownRuns::NotFound`].
    pub unknown_runs: UnknownRuns,
    /// Whether upstream's second event, `*Completed`, follows each `*Cancelled`. Defaults to false.
    pub completed_sentinel: bool,
    /// Whether tool calls and steps that a stop cut are closed by an event. Defaults to true.
    pub close_brackets: bool,
    /// Whether errors have an `error_code`. Defaults to true.
    pub error_codes: bool,
    /// The time without an event after which a stream writes `: heartbeat`. Defaults to 15 s. Zero
    /// writes none.
    #[serde(rename = "heartbeat_ms", deserialize_with = "quell_http::millis")]
    pub heartbeat: Duration,
    /// The longest that `wait=quiescent` waits. Defaults to 30 s. Zero looks once.
    #[serde(rename = "quiescent_wait_max_ms", deserialize_with = "quell_http::millis")]
    pub quiescent_wait_max: Duration,
    /// The origins that browsers may come from. Defaults to `http://localhost:3000`. With open
    /// access, pages of other origins than these and our own start and stop nothing.
    pub cors_origins: Vec<String>,
    /// The static key that every call has to bring as its bearer token, with all rights. It takes
    /// the place of the keys and tokens of the service. Defaults to none. Empty counts as none.
    ///
    /// A configuration cannot hold it: it names [`security_key_env`](Self::security_key_env).
    #[serde(skip)]
    pub security_key: Option<String>,
    /// The environment variable that holds the static key. A program that reads a configuration, as
    /// `quell serve` does, sets [`security_key`](Self::security_key) from it. Defaults to none.
    pub security_key_env: Option<String>,
}

/// What a cancel of a run that is not there does.
///
/// # Examples
///
/// ```
/// assert_eq!(quell_agentos::UnknownRuns::default(), quell_agentos::UnknownRuns::NotFound);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UnknownRuns {
    /// The cancel is answered 404, and changes nothing.
    #[default]
    NotFound,
    /// The stop is remembered for 24 h: the first run of the component with that id ends cancelled.
    /// Of several nodes it is in the store; of one process it is in memory, and a restart forgets
    /// it.
    Remember,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            os_id: "quell".into(),
            name: "quell".into(),
            description: None,
            db_id: "quell".into(),
            unknown_runs: UnknownRuns::default(),
            completed_sentinel: false,
            close_brackets: true,
            error_codes: true,
            heartbeat: Duration::from_secs(15),
            quiescent_wait_max: Duration::from_secs(30),
            cors_origins: vec!["http://localhost:3000".into()],
            security_key: None,
            security_key_env: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("os_id", &self.os_id)
            .field("unknown_runs", &self.unknown_runs)
            .field("completed_sentinel", &self.completed_sentinel)
            .field("has_security_key", &self.security_key.is_some())
            .field("security_key_env", &self.security_key_env)
            .finish_non_exhaustive()
    }
}

/// The contract of `AgentOS`. Components name it to be exposed in it.
pub const CONTRACT: Contract = Contract::named("agentos");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_a_key_of_the_configuration_and_no_other_key_is() {
        let text = r#"
            os_id = "os"
            name = "n"
            description = "d"
            db_id = "db"
            unknown_runs = "remember"
            completed_sentinel = true
            close_brackets = false
            error_codes = false
            heartbeat_ms = 0
            quiescent_wait_max_ms = 1
            cors_origins = []
            security_key_env = "OS_SECURITY_KEY"
        "#;
        let options: Options = toml::from_str(text).expect("every key is known");
        assert_eq!(options.unknown_runs, UnknownRuns::Remember);
        assert_eq!(options.heartbeat, Duration::ZERO);
        assert_eq!(options.security_key_env.as_deref(), Some("OS_SECURITY_KEY"));
        let known = Options { security_key: Some("hush-hush".into()), ..options };
        assert!(!format!("{known:?}").contains("hush"));
        let inline = toml::from_str::<Options>("security_key = \"hush-hush\"").unwrap_err();
        assert!(inline.message().contains("security_key_env"), "{inline}");
        assert!(toml::from_str::<Options>("heartbeat = 1").is_err());
        assert_eq!(toml::from_str::<Options>("").expect("empty"), Options::default());
    }
}
