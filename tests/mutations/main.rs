//! The tests tested: each deliberate fault of the engine makes the test of its promise fail.
//!
//! The product contains none of them. `instrument` copies the workspace, and puts every fault of
//! the lists below into the copy. This suite is built there once more; `QUELL_MUTATION` switches
//! one fault on. Each fault runs only the tests that it must fail.

#![expect(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod body;
mod engine;
mod forgotten;
mod instrument;
mod log;
mod node;
mod nodes;
mod outliving;
mod pauses;
#[path = "../tidy/promises.rs"]
mod promises;
mod pruning;
mod slots;
mod stories;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A deliberate fault of the engine, which breaks a promise at the place that keeps it.
struct Fault {
    /// What `QUELL_MUTATION` says to switch it on.
    name: &'static str,
    edits: &'static [Edit],
    /// The tests each of which must fail with it, and pass without.
    caught_by: &'static [&'static str],
}

/// One place of a fault.
struct Edit {
    /// From `crates/quell/src`.
    file: &'static str,
    /// An expression or a statement that stands once in the file, as it is formatted there. If that
    /// needs words around it, the expression is between `«` and `»`.
    text: &'static str,
    /// What happens instead; `…` stands for the expression.
    faulty: &'static str,
}

fn faults() -> impl Iterator<Item = &'static Fault> {
    let lists = [node::FAULTS, body::FAULTS, log::FAULTS, engine::FAULTS, pauses::FAULTS];
    lists
        .into_iter()
        .chain([pruning::FAULTS, outliving::FAULTS, stories::FAULTS, nodes::FAULTS])
        .chain([forgotten::FAULTS, slots::FAULTS])
        .flatten()
}

/// Each fault with each test that must fail with it.
fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    faults().flat_map(|fault| fault.caught_by.iter().map(|test| (fault.name, *test)))
}

const FOREIGN: &str =
    "foreign::i14_i26_no_foreign_code_breaks_a_promise_wherever_it_runs_and_whatever_it_calls";

/// The soak looks by itself, with a witness of its own.
const SOAK: &str = "soak::i39_waves_of_random_trees_end_on_time_and_leave_nothing_behind";

#[test]
fn every_deliberate_fault_makes_the_test_of_its_promise_fail() {
    let suite = Suite::build();
    let names: BTreeSet<&str> = pairs().map(|(_, test)| test).collect();
    let sound = names.into_iter().map(|test| ("", test));
    let missed = each(sound, |fault, test| match suite.run(fault, test) {
        End::Passed => None,
        end => Some(format!("{test} must exist and pass without a fault: {end:?}")),
    });
    assert!(missed.is_empty(), "{missed:#?}");
    let missed = each(pairs(), |fault, test| match suite.run(fault, test) {
        End::Failed => None,
        end => Some(format!("{fault} does not fail {test}: {end:?}")),
    });
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_promise_has_a_fault_that_breaks_it() {
    let broken: BTreeSet<u32> =
        pairs().filter_map(|(_, test)| promises::number_of(test.split("::").last()?)).collect();
    let missing: Vec<_> =
        promised_by_the_engine().filter(|number| !broken.contains(number)).collect();
    assert!(missing.is_empty(), "no fault breaks the invariants {missing:?}");
}

/// The promises of `promises.md` that the engine keeps by itself. I24 and I34 to I36 need a store
/// or a pause.
fn promised_by_the_engine() -> impl Iterator<Item = u32> {
    (1..=23).chain(25..=33).chain([37, 38, 39])
}

/// The suite of the instrumented copy.
struct Suite {
    executable: PathBuf,
    folder: PathBuf,
}

impl Suite {
    /// Builds it, if it is not built already.
    fn build() -> Self {
        let copy = instrument::copy();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in `target`");
        let built = Command::new(std::env::var("CARGO").expect("the tests run under cargo"))
            // Of the whole workspace, so that dependencies have the features that they have there.
            .args(["test", "--workspace", "--test", "quell", "--target-dir"])
            .arg(target)
            // Quiet, so that what is said of a failure is the failure.
            .args(["--no-run", "--quiet", "--message-format", "json-render-diagnostics"])
            .current_dir(&copy)
            // Nobody looks into it with a debugger, and the copy is built once.
            .envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")])
            .output()
            .expect("cargo starts");
        let told = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "the copy does not build, {}: {told}", built.status);
        let told = String::from_utf8_lossy(&built.stdout);
        let messages = told.lines().filter_map(|line| serde_json::from_str(line).ok());
        let mut suites = messages.filter_map(|message: serde_json::Value| {
            let is_ours =
                message["target"]["name"] == "quell" && message["profile"]["test"] == true;
            message["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
        });
        let executable = suites.next().expect("cargo says where the suite is");
        Self { executable, folder: copy.join("tests") }
    }

    /// Runs one test with one fault.
    fn run(&self, fault: &str, test: &str) -> End {
        let test = Command::new(&self.executable)
            .args(["--exact", test])
            .current_dir(&self.folder)
            .env("QUELL_MUTATION", fault)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the suite starts");
        let Some(told) = within(Duration::from_mins(1), test) else { return End::Hung };
        match told {
            told if told.contains("1 passed; 0 failed") => End::Passed,
            told if told.contains("0 passed; 0 failed") => End::Unknown,
            _ => End::Failed,
        }
    }
}

/// Does something for each pair on some threads, and collects what it has to say. A pair of which
/// it has something to say is tried again when the others are through: a fault that breaks a
/// promise only in some interleavings need not do so at once on a machine that is busy with other
/// tests.
fn each<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)> + Send,
    what: impl Fn(&str, &str) -> Option<String> + Sync,
) -> Vec<String> {
    let pairs = std::sync::Mutex::new(pairs);
    let next = || pairs.lock().unwrap().next();
    let is_told = |&(fault, test): &(&str, &str)| {
        let said = what(fault, test);
        // Past what libtest captures, so that the end of a log has it beside the test's name.
        said.map(|said| writeln!(std::io::stderr(), "once more: {said}")).is_some()
    };
    let work = || -> Vec<_> { std::iter::from_fn(next).filter(is_told).collect() };
    let missed = std::thread::scope(|scope| {
        let threads = [(); AT_ONCE].map(|()| scope.spawn(work));
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let tried_again = |(fault, test)| {
        let mut said = None;
        for _ in 1..TRIES {
            said = Some(what(fault, test)?);
        }
        said
    };
    missed.into_iter().filter_map(tried_again).collect()
}

/// Pairs at a time. Those that take long wait for what a fault keeps from happening.
const AT_ONCE: usize = 4;

/// How often a pair is tried.
const TRIES: u32 = 4;

/// How one test ended with one fault.
#[derive(Debug)]
enum End {
    Passed,
    Failed,
    /// There is no such test.
    Unknown,
    /// A fault has to be told by an assertion, not by patience.
    Hung,
}

/// Waits for a process and yields what it said; one that takes too long is killed.
fn within(time: Duration, mut child: Child) -> Option<String> {
    let mut stdout = child.stdout.take().expect("its output is piped");
    let reader = std::thread::spawn(move || {
        let mut told = Vec::new();
        stdout.read_to_end(&mut told).expect("its output can be read");
        String::from_utf8_lossy(&told).into_owned()
    });
    let until = Instant::now() + time;
    while child.try_wait().expect("it can be waited for").is_none() {
        if Instant::now() > until {
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(reader.join().expect("the output was read"))
}
