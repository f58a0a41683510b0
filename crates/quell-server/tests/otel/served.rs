//! A `quell serve` at work.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The demo, with one key.
pub(crate) struct Served {
    child: Child,
    dir: PathBuf,
    base: String,
    stderr: Option<thread::JoinHandle<String>>,
}

impl Served {
    /// Serves with more variables in its environment.
    pub(crate) fn new(env: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("quell-otel-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("quell.toml"), KEYS).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_quell"));
        command.args(["serve", "--demo", "--config", "quell.toml", "--listen", "127.0.0.1:0"]);
        command.args(["--log", "info", "--log-format", "json"]);
        for key in ["OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER", "OTEL_SDK_DISABLED"] {
            command.env_remove(key);
        }
        command.current_dir(&dir).env("OPS_KEY", KEY).envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = child.stderr.take().map(|from| thread::spawn(move || all_of(from)));
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let base = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(base.starts_with("http://"), "{line}");
        Self { child, dir, base, stderr }
    }

    /// Gets what is at a path.
    pub(crate) fn get(&self, path: &str) -> String {
        let call = ureq::get(format!("{}{path}", self.base)).header("x-api-key", KEY);
        let text = call.call().map(|mut answer| answer.body_mut().read_to_string());
        text.expect("an answer").expect("text")
    }

    /// Posts JSON in a trace. Yields the status.
    pub(crate) fn post(&self, path: &str, body: &str, traceparent: Option<&str>) -> u16 {
        let post = ureq::post(format!("{}{path}", self.base)).content_type("application/json");
        let post = post.header("x-api-key", KEY);
        let post = traceparent.into_iter().fold(post, |post, it| post.header("traceparent", it));
        post.send(body).expect("an answer").status().as_u16()
    }

    /// Ends it, and yields its log.
    pub(crate) fn drained(mut self) -> String {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("an id");
        kill_process(pid, Signal::TERM).expect("it is ours");
        let mut status = None;
        wait_until("it has ended", || {
            status = self.child.try_wait().expect("it is ours");
            status.is_some()
        });
        let log = self.stderr.take().expect("its log is read").join().expect("text");
        assert!(status.is_some_and(|it| it.success()), "{log}");
        log
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn all_of(mut stderr: ChildStderr) -> String {
    let mut text = String::new();
    let _ = stderr.read_to_string(&mut text);
    text
}

/// Waits for something: far longer than it takes, for slow machines.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

const PATIENCE: Duration = Duration::from_mins(2);

const KEY: &str = "the-key-of-these-tests-of-traces";

const KEYS: &str = "[[keys]]\nsubject = \"ops\"\nsecret_env = \"OPS_KEY\"\nadmin = true\n";
