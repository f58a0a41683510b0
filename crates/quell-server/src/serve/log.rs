//! [`Log`]: where `quell serve` says what happens: lines for people, or JSON.

use std::env;
use std::io::{self, IsTerminal as _};
use std::time::SystemTime;

use serde_json::json;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, registry};

use super::stderr::Stderr;
use crate::log_format::LogFormat;

/// The log on stderr, which never waits for its reader.
#[derive(Debug)]
pub(super) struct Log {
    stderr: Stderr,
    is_json: bool,
}

impl Log {
    /// Opens the log, and makes it the place where the whole process says what happens.
    pub(super) fn open(format: LogFormat, level: LevelFilter) -> Self {
        let stderr = Stderr::open();
        let is_terminal = io::stderr().is_terminal();
        let is_json = match format {
            LogFormat::Auto => !is_terminal,
            LogFormat::Human => false,
            LogFormat::Json => true,
        };
        let writer = stderr.writer();
        let lines = fmt::layer().with_writer(move || writer.clone());
        let lines = if is_json {
            lines.json().flatten_event(true).with_span_list(false).boxed()
        } else {
            lines.with_ansi(is_terminal && may_colour()).boxed()
        };
        // The engine tells of the ends of all runs, under ids that no caller knows.
        let engine = if level == LevelFilter::INFO { LevelFilter::WARN } else { level };
        let levels = Targets::new().with_default(level).with_target(ENGINE, engine);
        registry().with(lines.with_filter(levels)).init();
        Self { stderr, is_json }
    }

    /// Says something to the user, whatever the level.
    pub(super) fn say(&self, text: &str) {
        if !self.is_json {
            return self.stderr.say(text);
        }
        let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        for line in text.lines() {
            let line = json!({
                "timestamp": at, "level": "INFO", "message": line, "target": "quell",
            });
            self.stderr.say(&line.to_string());
        }
    }

    /// Says why nothing is served: for people, as it is said before there is anything to log.
    pub(super) fn refuse(&self, refusal: &str) {
        self.stderr.say(&format!("error: {refusal}"));
    }
}

/// Tells whether colours are wanted (<https://no-color.org>), and understood.
fn may_colour() -> bool {
    let is_set = |key| env::var_os(key).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Where the engine tells of transitions of runs.
const ENGINE: &str = "quell::step";
