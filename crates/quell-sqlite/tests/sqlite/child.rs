//! A process of its own that writes. It says `up`, and after each acknowledgement what it was for:
//! the pipe keeps what it said when it is killed.

use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use quell_core::store::{Store, StoreError};
use quell_core::{RunId, RunStatus};
use quell_sqlite::SqliteStore;

use crate::death;
use crate::fixture::{accept, block_on, end, epoch, event, state, stop};

/// What a child does.
const ROLE: &str = "QUELL_SQLITE_CHILD";

/// Which file it opens.
const FILE: &str = "QUELL_SQLITE_FILE";

/// How it does that.
const HOW: &str = "QUELL_SQLITE_HOW";

/// Writers of a child.
const WRITERS: usize = 16;

/// A child, and what it says.
pub(crate) struct Writing {
    pub(crate) process: Child,
    /// What it said before it was up.
    pub(crate) before: Vec<String>,
    lines: BufReader<ChildStdout>,
}

impl Writing {
    /// Starts a child, and waits until it is up.
    pub(crate) fn start(role: &str, file: &Path) -> Self {
        Self::of(Command::new(env::current_exe().unwrap()), role, file).up()
    }

    /// Starts a child that is told how, and may die before it is up.
    pub(crate) fn start_how(role: &str, file: &Path, how: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.env(HOW, how);
        Self::of(command, role, file)
    }

    /// Starts a child whose files may have so many blocks of 512 bytes (`ulimit -f` of a POSIX
    /// shell): a write beyond fails.
    pub(crate) fn with_files_of(blocks: u32, role: &str, file: &Path) -> Self {
        let mut shell = Command::new("sh");
        let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        shell.args(["-c", &limited]).arg(env::current_exe().unwrap());
        Self::of(shell, role, file).up()
    }

    fn of(mut command: Command, role: &str, file: &Path) -> Self {
        command.args(["child::writes_if_it_is_told_to", "--exact", "--nocapture", "--quiet"]);
        command.env(ROLE, role).env(FILE, file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, before: Vec::new(), lines }
    }

    fn up(mut self) -> Self {
        loop {
            let line = self.line().unwrap();
            if line == "up" {
                return self;
            }
            self.before.push(line);
        }
    }

    /// Reads what it says until it kills itself.
    pub(crate) fn until_it_dies(mut self) -> Vec<String> {
        let mut said = String::new();
        self.lines.read_to_string(&mut said).unwrap();
        let status = self.process.wait().unwrap();
        assert!(death::is_of(status), "it was not killed: {status}, and said {said}");
        said.lines().map(str::to_owned).collect()
    }

    /// Reads what it says next; none when it has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim().to_owned())
    }

    /// As [`until_it_dies`](Self::until_it_dies), and kills it when it has said so many lines.
    pub(crate) fn until_it_dies_or(mut self, lines_max: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < lines_max {
            let Some(line) = self.line() else {
                let status = self.process.wait().unwrap();
                assert!(death::is_of(status), "it was not killed: {status}, and said {lines:?}");
                return lines;
            };
            lines.push(line);
        }
        lines.extend(self.kill());
        lines
    }

    /// Kills it, and reads what it had said until then.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        self.process.wait().unwrap();
        // The last line may be half.
        let whole = rest.rfind('\n').map_or("", |last| &rest[..last]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Reads what it says to its end.
    pub(crate) fn rest(mut self) -> Vec<String> {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        self.process.wait().unwrap();
        rest.lines().map(str::to_owned).collect()
    }
}

/// Names a run of a generation of children.
pub(crate) fn run(boot: u32, nth: usize) -> RunId {
    RunId::from_text(&format!("boot {boot} run {nth}"))
}

pub(crate) fn say(what: &str) {
    // One write: a line of another thread never stands within it.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{what}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What the parent starts. By itself it does nothing.
#[test]
fn writes_if_it_is_told_to() {
    let (Ok(role), Ok(file)) = (env::var(ROLE), env::var(FILE)) else { return };
    let (file, how) = (PathBuf::from(file), env::var(HOW).unwrap_or_default());
    match role.as_str() {
        "migrate" => migrate(&file),
        "hold" => hold(&file),
        "open" => crate::migrations::opens(&file, &how),
        "copy" => crate::copies::writes(&file),
        "close" => crate::copies::closes(&file, &how),
        "act" => crate::acts::acts(&file, &how),
        "engine" => crate::engine::runs(&file, &how),
        "prune" => crate::pruning::prunes(&file),
        "live" => live(&file, usize::MAX),
        "fail" => live(&file, 3),
        "fail loudly" => {
            // Thousands of panics are meant, and would bury what the test says.
            let tell = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if panic.payload().downcast_ref() != Some(&LOUD) {
                    tell(panic);
                }
            }));
            tracing::subscriber::set_global_default(Loud).unwrap();
            live(&file, 3);
        }
        other => panic!("no role {other}"),
    }
}

/// What a subscriber says.
const LOUD: &str = "a subscriber";

/// A subscriber that panics at each line.
struct Loud;

impl tracing::Subscriber for Loud {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        std::panic::panic_any(LOUD);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Makes one store after the other.
fn migrate(folder: &Path) {
    say("up");
    for nth in 0_u32.. {
        let store = SqliteStore::open(folder.join(format!("{nth}.db"))).unwrap();
        block_on(store.close()).unwrap();
        say(&format!("m {nth}"));
    }
}

/// Has a store until its stdin ends.
fn hold(file: &Path) {
    let store = SqliteStore::open(file).unwrap();
    say("up");
    let _ = std::io::stdin().read(&mut [0]);
    block_on(store.close()).unwrap();
}

/// Lets runs begin, be stopped, and end, and says what was acknowledged. Ends when each writer has
/// met so many failures.
pub(crate) fn live(file: &Path, failures_max: usize) {
    let store = Arc::new(SqliteStore::open(file).unwrap());
    say("up");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            runtime.spawn(async move {
                let mut failures = 0;
                for nth in (writer..).step_by(WRITERS) {
                    if let Err(error) = life(&store, nth).await {
                        say(&format!("x {nth} {error}"));
                        failures += 1;
                    }
                    if failures >= failures_max {
                        return;
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        runtime.block_on(writer).unwrap();
    }
    block_on(store.close()).unwrap();
    say("closed");
}

async fn life(store: &SqliteStore, nth: usize) -> Result<(), StoreError> {
    let (boot, epoch) = (store.boot(), epoch(store));
    let run = run(boot, nth);
    let saved = |nth| state(run, epoch, "lane", nth);
    let begun = vec![accept(run, epoch), event(run, epoch, 1), saved(1), saved(2), saved(3)];
    store.append(begun).await?;
    say(&format!("a {boot} {nth}"));
    if nth % 2 == 1 {
        store.append(vec![stop(run, epoch)]).await?;
        say(&format!("s {boot} {nth}"));
    }
    if nth % 5 == 4 {
        // It stays live.
        return Ok(());
    }
    let status = if nth % 2 == 1 { RunStatus::Cancelled } else { RunStatus::Completed };
    // The end stands between two events that share a row.
    let ended = vec![event(run, epoch, 2), end(run, epoch, status), event(run, epoch, 3)];
    store.append(ended).await?;
    say(&format!("e {boot} {nth}"));
    Ok(())
}
