//! [`Log`]: where `quell serve` says what happens: lines for people, or JSON.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::io::{self, IsTerminal as _};
use std::panic;
use std::thread;
use std::time::SystemTime;

use quell_flow::PlanError;
use quell_report::text::printable;
use serde_json::json;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, registry};

use super::stderr::{Lines, Stderr};
use super::traces::Traces;
use crate::faults::warned_shortly;
use crate::log_format::LogFormat;

/// The log on stderr, which never waits for its reader.
#[derive(Debug)]
pub(super) struct Log {
    stderr: Stderr,
    is_json: bool,
    /// Whether JSON was asked for. Why nothing is served is for people otherwise: whoever starts a
    /// server by hand may send its log elsewhere.
    is_json_asked_for: bool,
    traces: Traces,
}

impl Log {
    /// Opens the log, and makes it the place where the whole process says what happens. Spans of
    /// runs are exported from then on, if the environment says so.
    pub(super) fn open(format: LogFormat, level: LevelFilter) -> Self {
        let stderr = Stderr::open();
        let is_terminal = io::stderr().is_terminal();
        let is_json = match format {
            LogFormat::Auto => !is_terminal,
            LogFormat::Human => false,
            LogFormat::Json => true,
        };
        say_panics(stderr.lines().clone(), is_json);
        let writer = stderr.lines().writer();
        let lines = fmt::layer().with_writer(move || writer.clone());
        let lines = if is_json {
            lines.json().flatten_event(true).with_span_list(false).boxed()
        } else {
            lines.with_ansi(is_terminal && may_colour()).boxed()
        };
        let (traces, spans) = Traces::open();
        subscriber(lines.with_filter(levels(level)), spans).init();
        Self { stderr, is_json, is_json_asked_for: format == LogFormat::Json, traces }
    }

    /// Yields what exports the spans of runs.
    pub(super) const fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Says something to the user, whatever the level.
    pub(super) fn say(&self, text: &str) {
        if !self.is_json {
            return self.stderr.lines().say(text);
        }
        for line in text.lines() {
            self.stderr.lines().say(&object("INFO", line));
        }
    }

    /// Says what should be otherwise, whatever the level.
    pub(super) fn warn(&self, text: &str) {
        if !self.is_json {
            return self.stderr.lines().say(&format!("warning: {text}"));
        }
        for line in text.lines() {
            self.stderr.lines().say(&object("WARN", line));
        }
    }

    /// Says why nothing is served, behind what should be otherwise besides, as `quell check` does.
    pub(super) fn refuse(&self, (warnings, check): (&[PlanError], &str), refusal: &str) {
        if self.is_json_asked_for {
            for warning in warnings {
                self.stderr.lines().say(&object("WARN", &warning.to_string()));
            }
            return self.stderr.lines().say(&object("ERROR", refusal));
        }
        let warnings = warned_shortly(warnings, check);
        self.stderr.lines().say(&format!("{warnings}error: {refusal}"));
    }
}

/// Makes what hears of spans and events. A layer that is left out is not there as none: that would
/// be asked for all that nobody else wants, so that each span and event would be made
/// (bench `http -- floor`).
fn subscriber<L, S>(lines: L, spans: Option<S>) -> Box<dyn Subscriber + Send + Sync>
where
    L: Layer<Registry> + Send + Sync,
    S: Layer<Layered<L, Registry>> + Send + Sync,
{
    let lines = registry().with(lines);
    match spans {
        Some(spans) => Box::new(lines.with(spans)),
        None => Box::new(lines),
    }
}

/// Yields what is said at a level.
fn levels(level: LevelFilter) -> Targets {
    let (engine, pool) = match level {
        // The engine tells of the ends of all runs, under ids that no caller knows.
        LevelFilter::INFO => (LevelFilter::WARN, LevelFilter::ERROR),
        // A pool tells of each session that a database has ended, which is told once for all.
        LevelFilter::WARN => (level, LevelFilter::ERROR),
        _ => (level, level),
    };
    Targets::new().with_default(level).with_target(ENGINE, engine).with_target(POOL, pool)
}

/// Has panics said in the log: the hook of the standard library waits for the reader of stderr, and
/// writes lines that are no objects.
fn say_panics(lines: Lines, is_json: bool) {
    panic::set_hook(Box::new(move |panic| {
        let thread = thread::current();
        let mut words = format!("thread '{}' {panic}", thread.name().unwrap_or("?"));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            words = format!("{words}\n{trace}");
        }
        lines.say(&if is_json { object("ERROR", &words) } else { plain(&words) });
    }));
}

/// Yields lines that cannot steer a terminal, whatever the message of a panic quotes.
fn plain(words: &str) -> String {
    words.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// Yields a line of the log as JSON.
fn object(level: &str, message: &str) -> String {
    let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let line = json!({ "timestamp": at, "level": level, "message": message, "target": "quell" });
    line.to_string()
}

/// Tells whether colours are wanted (<https://no-color.org>), and understood.
fn may_colour() -> bool {
    let is_set = |key| env::var_os(key).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Where the engine tells of transitions of runs.
const ENGINE: &str = "quell::step";

/// Where pools of sessions tell of theirs.
const POOL: &str = "deadpool";

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use tracing::Level;
    use tracing_subscriber::layer::Identity;

    use super::*;

    /// A stderr whose reader takes a line only when it is allowed to.
    struct Slow {
        allowed: Receiver<()>,
        taken: Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // Without the test there is nobody to read.
            let _ = self.allowed.recv();
            let _ = self.taken.send(String::from_utf8_lossy(line).into_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Has a thread panic, and yields what is written of it. Its one reader comes after that.
    fn said(message: &'static str, is_json: bool) -> String {
        let ((allow, allowed), (taken, lines)) = (channel(), channel());
        let stderr = Stderr::to(Slow { allowed, taken });
        say_panics(stderr.lines().clone(), is_json);
        let thread = thread::Builder::new().name("it".into());
        let panicked = thread.spawn(move || unreachable!("{message}"));
        let panicked = panicked.expect("a thread starts").join();
        drop(panic::take_hook());
        panicked.expect_err("it panicked");
        allow.send(()).expect("the writer waits");
        lines.recv().expect("the line is written")
    }

    #[test]
    fn what_a_pool_says_of_each_session_and_the_engine_of_each_run_is_for_those_who_debug() {
        for (level, pool, engine) in
            [("warn", false, false), ("info", false, false), ("debug", true, true)]
        {
            let levels = levels(level.parse().expect("a level"));
            assert_eq!(levels.would_enable("deadpool.postgres", &Level::WARN), pool, "{level}");
            assert_eq!(levels.would_enable("quell::step::trace", &Level::INFO), engine, "{level}");
            assert!(levels.would_enable("deadpool.postgres", &Level::ERROR), "{level}");
            assert!(levels.would_enable("quell::journal", &Level::WARN), "{level}");
        }
    }

    #[test]
    fn what_nobody_hears_is_not_made() {
        let lines = || fmt::layer().with_writer(io::sink).with_filter(levels(LevelFilter::WARN));
        let without = subscriber(lines(), None::<Identity>);
        assert_eq!(without.max_level_hint(), Some(LevelFilter::WARN));
        let spans = fmt::layer().with_writer(io::sink).with_filter(LevelFilter::INFO);
        let with = subscriber(lines(), Some(spans));
        assert_eq!(with.max_level_hint(), Some(LevelFilter::INFO));
    }

    // One test: there is one hook.
    #[test]
    fn a_panic_is_an_object_in_the_log_or_plain_text_and_waits_for_no_reader() {
        let line = said("so\nit is", true);
        let line: serde_json::Value = serde_json::from_str(&line).expect("an object");
        assert_eq!(line["level"], "ERROR");
        let words = line["message"].as_str().expect("text");
        assert!(words.starts_with("thread 'it' panicked at ") && words.contains("so\nit is"));
        let lines = said("so\n\u{1b}[2Jit is\u{202e}", false);
        assert!(lines.contains("so\n\\u{1b}[2Jit is\\u{202e}\n"), "{lines}");
    }
}
