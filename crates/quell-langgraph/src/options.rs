//! [`Options`]: what an embedder may choose.

use std::time::Duration;

use quell::limits;
use quell_flow::Contract;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::wire::hosts::is_host;

/// What an embedder may choose of the adapter (contract, choice 11).
///
/// Every field is a key of the table `[langgraph]` of a configuration file, under the field's name;
/// durations are written in milliseconds, as `settle_ms`, `timeout_max_ms`, `grace_max_ms`.
///
/// # Examples
///
/// ```
/// let mut options = quell_langgraph::Options::default();
/// options.settle = std::time::Duration::ZERO;
/// assert!(options.timeout_error);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[non_exhaustive]
pub struct Options {
    /// Whether a stream ends with `event: end`, `data: null`. Defaults to false: strict readers
    /// would see one event more.
    pub end_event: bool,
    /// Whether the text of every error is shown, also of classes that upstream masks. Defaults to
    /// false.
    pub unmasked_errors: bool,
    /// Whether a timeout is shown: an `error` event, `__error__`. Defaults to true. False is
    /// upstream's silence.
    pub timeout_error: bool,
    /// How long a cancel without `wait` is held for its runs to become terminal. Defaults to
    /// 20 ms. Zero holds nothing.
    #[serde(rename = "settle_ms", deserialize_with = "quell_http::millis")]
    pub settle: Duration,
    /// The longest time that a run may ask for in `metadata.quell_timeout_ms`; more counts as
    /// this. Defaults to no limit. Zero stops every run that asks as soon as it starts.
    #[serde(rename = "timeout_max_ms", deserialize_with = "some_millis")]
    pub timeout_max: Option<Duration>,
    /// The longest grace that a run may ask for in `metadata.quell_grace_ms`; more counts as this.
    /// Defaults to 5 s. Zero gives none.
    #[serde(rename = "grace_max_ms", deserialize_with = "quell_http::millis")]
    pub grace_max: Duration,
    /// The hosts that a `webhook` of a run may be sent to: `host`, `host:port`, or `*.domain` for
    /// all below one. These may be anywhere, in a network of one's own too. `*` is every other
    /// host, at public addresses alone. Defaults to none, which means `*`.
    #[serde(deserialize_with = "hosts")]
    pub webhook_hosts: Vec<String>,
    /// How often a webhook is tried, with a pause of 1 s behind the first try that doubles up to
    /// 30 s. Defaults to 5. Zero sends none: a run that asks for one is refused.
    pub webhook_attempts: u32,
    /// How long one try may take, from the name of the host to the head of the answer. Defaults to
    /// 10 s. Zero sends none, as above.
    #[serde(rename = "webhook_timeout_ms", deserialize_with = "quell_http::millis")]
    pub webhook_timeout: Duration,
    /// How many webhooks are owed at once: those of live runs, and those that wait for their
    /// receivers; one owner has a share of them ([`ServiceLimits`](quell_http::ServiceLimits)). One
    /// more, and its run is refused with 429. Defaults to 10,000. Zero sends none, as above.
    pub webhooks_max: usize,
    /// How many crons there may be. One more is refused with 429. Defaults to 10,000. With zero
    /// none is made.
    pub crons_max: usize,
    /// How many crons one owner may have. One more is refused with 429. Defaults to 1,000. With
    /// zero none is made.
    pub crons_owner_max: usize,
    /// How many bytes one cron may take as text: the body of its runs, and its metadata. A larger
    /// one is refused with 413. Defaults to 64 KiB. With zero none is made.
    pub cron_bytes_max: usize,
    /// The shortest time between two runs of a cron. A schedule with times that are closer is
    /// refused with 422. Defaults to a minute. Zero allows what a schedule can say: each second.
    #[serde(rename = "cron_interval_min_ms", deserialize_with = "quell_http::millis")]
    pub cron_interval_min: Duration,
    /// How many items of the key-value store one owner may have. One more is refused with 429.
    /// Defaults to 10,000. With zero none is kept.
    pub items_owner_max: usize,
    /// How many bytes the items of one owner may take together as text. What would take more is
    /// refused with 429. Defaults to 64 MiB. With zero none is kept.
    pub items_owner_bytes_max: usize,
    /// Whether `POST /internal/truncate` is served, which stops all that is live and deletes what
    /// is named: for benchmarks. Defaults to false. No configuration file has it.
    #[serde(skip)]
    pub truncates: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            end_event: false,
            unmasked_errors: false,
            timeout_error: true,
            settle: Duration::from_millis(20),
            timeout_max: None,
            grace_max: limits::GRACE,
            webhook_hosts: Vec::new(),
            webhook_attempts: 5,
            webhook_timeout: Duration::from_secs(10),
            webhooks_max: 10_000,
            crons_max: 10_000,
            crons_owner_max: 1_000,
            cron_bytes_max: 64 << 10,
            cron_interval_min: Duration::from_mins(1),
            items_owner_max: 10_000,
            items_owner_bytes_max: 64 << 20,
            truncates: false,
        }
    }
}

fn some_millis<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    quell_http::millis(from).map(Some)
}

fn hosts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let hosts = Vec::<String>::deserialize(from)?;
    if hosts.iter().all(|host| is_host(host)) {
        return Ok(hosts);
    }
    Err(D::Error::custom(
        "expected hosts, such as \"example.com\", \"10.0.0.7:8000\" or \"*.corp\"",
    ))
}

/// The contract of the `LangGraph` Agent Server. Components name it to be exposed in it.
pub const CONTRACT: Contract = Contract::named("langgraph");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_a_key_of_the_configuration_and_no_other_key_is() {
        let text = "end_event = true\nunmasked_errors = true\ntimeout_error = false\n\
                    settle_ms = 0\ntimeout_max_ms = 5\ngrace_max_ms = 7\n\
                    webhook_hosts = [\"*.corp\", \"a:1\"]\nwebhook_attempts = 2\n\
                    webhook_timeout_ms = 3\nwebhooks_max = 4\n\
                    crons_max = 6\ncrons_owner_max = 5\ncron_bytes_max = 8\n\
                    cron_interval_min_ms = 9\n\
                    items_owner_max = 10\nitems_owner_bytes_max = 11";
        let options: Options = toml::from_str(text).expect("every key is known");
        assert!(options.end_event && options.unmasked_errors && !options.timeout_error);
        assert_eq!(options.settle, Duration::ZERO);
        assert_eq!(options.timeout_max, Some(Duration::from_millis(5)));
        assert_eq!(options.grace_max, Duration::from_millis(7));
        assert_eq!(options.webhook_hosts, ["*.corp", "a:1"]);
        assert_eq!((options.webhook_attempts, options.webhooks_max), (2, 4));
        assert_eq!(options.webhook_timeout, Duration::from_millis(3));
        assert_eq!((options.crons_max, options.crons_owner_max, options.cron_bytes_max), (6, 5, 8));
        assert_eq!(options.cron_interval_min, Duration::from_millis(9));
        assert_eq!((options.items_owner_max, options.items_owner_bytes_max), (10, 11));
        assert!(toml::from_str::<Options>("settle = 1").is_err());
        assert!(toml::from_str::<Options>("webhook_hosts = [\"http://a\"]").is_err());
        assert_eq!(toml::from_str::<Options>("").expect("empty"), Options::default());
    }
}
