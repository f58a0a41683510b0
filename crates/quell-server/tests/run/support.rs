//! Runs the real binary in a directory of its own, and looks for what it leaves behind.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest that a test waits for something: far more than it takes, for slow machines.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);

/// A directory that is removed at the end, and a mark by which processes are found that were
/// started from here, whatever became of their parents.
pub(crate) struct Scratch {
    dir: PathBuf,
    mark: String,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("quell-test-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(&mark);
        fs::create_dir_all(&dir).expect("a directory can be made");
        Self { dir, mark }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).expect("the file is JSON")
    }

    /// Yields the names of the files here.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.dir)
            .expect("the directory is there")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Prepares `quell` with these arguments, in this directory.
    pub(crate) fn quell(&self, args: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_quell"));
        command.args(args);
        command
    }

    /// Prepares any program, in this directory and with the mark.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.dir)
            .env(MARK, &self.mark)
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `quell` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        Running::start(self.quell(args)).ended()
    }

    /// Runs `quell` to its end, with a text on its stdin, a pipe.
    pub(crate) fn run_with(&self, args: &[&str], text: &str) -> Ended {
        let (reader, mut writer) = io::pipe().expect("a pipe can be made");
        writer.write_all(text.as_bytes()).expect("the pipe has room");
        drop(writer);
        let mut command = self.quell(args);
        command.stdin(reader);
        Running::start(command).ended()
    }

    /// Yields the processes that bear the mark and live, the test itself excluded.
    pub(crate) fn survivors(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}", self.mark);
        let bears_mark = |pid: &u32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes())
        };
        let entries = fs::read_dir("/proc").expect("/proc is there");
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| bears_mark(pid) && is_alive(*pid))
            .collect()
    }

    /// Yields the pids that programs wrote into files whose names begin with `pid`.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let files = self.names().into_iter().filter(|name| name.starts_with("pid"));
        files
            .filter_map(|name| String::from_utf8(self.read(&name)).ok()?.trim().parse().ok())
            .collect()
    }

    /// Asserts that at least `count` programs wrote their pids, and that nothing lives any more.
    pub(crate) fn assert_nothing_is_left(&self, count: usize) {
        let pids = self.pids();
        assert!(pids.len() >= count, "{} programs of {count} had started", pids.len());
        let alive: Vec<_> = pids.into_iter().filter(|pid| is_alive(*pid)).collect();
        assert!(alive.is_empty(), "{alive:?} wrote their pids and are alive");
        let marked = self.survivors();
        assert!(marked.is_empty(), "{marked:?} were started from here and are alive");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A failed test must not leave its programs to the next one.
        for pid in self.survivors() {
            send("KILL", pid);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A `quell` at work. Its output is read all the time.
pub(crate) struct Running {
    child: Child,
    stdout: Option<thread::JoinHandle<String>>,
    stderr: Option<thread::JoinHandle<String>>,
    began: Instant,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().map(|from| thread::spawn(move || read_all(from)));
        let stderr = child.stderr.take().map(|from| thread::spawn(move || read_all(from)));
        Self { child, stdout, stderr, began: Instant::now() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        send(name, self.child.id());
    }

    /// Waits for its end, and for the end of its output.
    pub(crate) fn ended(mut self) -> Ended {
        let mut status = None;
        wait_until("quell has ended", || {
            status = self.child.try_wait().expect("the child is ours");
            status.is_some()
        });
        let took = self.began.elapsed();
        let text = |reader: Option<thread::JoinHandle<String>>| {
            reader.map(|reader| reader.join().expect("it reads")).unwrap_or_default()
        };
        let status: ExitStatus = status.expect("it has ended");
        Ended { code: status.code(), stdout: text(self.stdout), stderr: text(self.stderr), took }
    }
}

/// What a `quell` left.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None if a signal ended it, which must not happen.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Ended {
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

/// Runs `quell` in a directory of its own, with a timeout before which so many programs have
/// written their pids: a busy machine needs a longer one.
#[track_caller]
pub(crate) fn run_beyond_the_start(
    programs: usize,
    run: impl Fn(&Scratch, &str) -> Ended,
) -> (Scratch, Ended) {
    let mut runs = ["500ms", "4s", "20s"].into_iter().map(|timeout| {
        let scratch = Scratch::new();
        let ended = run(&scratch, timeout);
        (scratch, ended)
    });
    let has_begun = |run: &(Scratch, Ended)| run.0.pids().len() >= programs;
    runs.find(has_begun).expect("the programs begin within 20 s")
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Tells whether a process executes: one that has ended and waits for its parent does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// Yields the row of a report that has this name.
pub(crate) fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report["rows"].as_array().expect("a report has rows");
    rows.iter().find(|row| row["name"] == name).expect("the run has a row")
}

/// Yields the page of a topic of the help.
pub(crate) fn page(topic: &str) -> String {
    let path = repository().join(format!("crates/quell-server/src/{topic}.md"));
    fs::read_to_string(path).expect("the page")
}

/// Asserts that each way to ask for the help of a topic prints its page.
#[track_caller]
pub(crate) fn assert_help_is_page(topic: &str) {
    let scratch = Scratch::new();
    for args in [&["help", topic][..], &[topic, "--help"], &[topic]] {
        let ended = scratch.run(args);
        ended.assert_code(0);
        assert_eq!(ended.stdout.trim_end(), page(topic).trim_end(), "{args:?}");
    }
}

/// Yields the root of the repository.
pub(crate) fn repository() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("the package is in crates/ of the repository")
}

/// Sends a signal; a process that has just ended cannot be signalled, which is fine.
pub(crate) fn send(signal: &str, pid: u32) {
    let kill = format!("kill -{signal} {pid}");
    let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
}

fn read_all(mut from: impl io::Read) -> String {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The variable that carries the mark of a [`Scratch`].
const MARK: &str = "QUELL_TEST_MARK";
