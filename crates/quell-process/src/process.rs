//! A program to run, and how to run it.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quell::{Failure, RunContext, Work};
use rustix::io::Errno;

use crate::ProcessOutput;
use crate::group::Group;
use crate::running::Running;
use crate::survivors::{self, MARKS};

/// A program to run as the body of a run.
///
/// It runs in a process group of its own and inherits the environment and the working directory
/// of the embedder, but neither its stdin nor its stdout and stderr. See the [crate] for how it
/// ends and what becomes of what it writes.
///
/// # Examples
///
/// ```
/// use quell::{Engine, Outcome, RunSpec};
/// use quell_process::Process;
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let engine = Engine::new();
/// let greet = Process::new("sh").args(["-c", "cat; echo , $WHO"]);
/// let greet = greet.env("WHO", "world").input("hello");
/// let run = engine.submit(RunSpec::step("greet"), |ctx| greet.run(ctx));
/// match run.unwrap().outcome().await {
///     Outcome::Completed(output) => assert_eq!(output.stdout, "hello, world\n"),
///     _ => panic!("it was not stopped, and `cat` does not fail"),
/// }
/// # });
/// ```
#[derive(Clone, Debug)]
#[must_use = "a process does nothing until it is run"]
pub struct Process {
    program: OsString,
    args: Vec<OsString>,
    cwd: Option<PathBuf>,
    /// Whether it gets nothing of the environment of the embedder.
    is_env_cleared: bool,
    /// In order; without a value it is taken out.
    env: Vec<(OsString, Option<OsString>)>,
    input: Option<Vec<u8>>,
    output_bytes_max: usize,
}

impl Process {
    /// Names the program: a path, or a name to be looked up in `PATH`. No shell is involved.
    ///
    /// # Examples
    ///
    /// ```
    /// let _ = quell_process::Process::new("ls");
    /// ```
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            cwd: None,
            is_env_cleared: false,
            env: Vec::new(),
            input: None,
            output_bytes_max: OUTPUT_BYTES,
        }
    }

    /// Adds an argument. Defaults to none.
    ///
    /// # Examples
    ///
    /// ```
    /// let _ = quell_process::Process::new("ls").arg("-l");
    /// ```
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    ///
    /// # Examples
    ///
    /// ```
    /// let _ = quell_process::Process::new("ls").args(["-l", "/tmp"]);
    /// ```
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the working directory. Defaults to that of the embedder.
    ///
    /// A relative path of the program counts from this directory.
    ///
    /// # Examples
    ///
    /// ```
    /// let _ = quell_process::Process::new("ls").cwd("/tmp");
    /// ```
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Sets a variable of the environment. Defaults to the environment of the embedder.
    ///
    /// The engine's own variable `QUELL_PROCESS_IDS` cannot be set.
    ///
    /// # Examples
    ///
    /// ```
    /// let _ = quell_process::Process::new("env").env("LANG", "C");
    /// ```
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), Some(value.into())));
        self
    }

    /// Takes a variable out of the environment. Set again after that, it is there.
    ///
    /// # Examples
    ///
    /// ```
    /// let _ = quell_process::Process::new("env").env_remove("API_KEY");
    /// ```
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.env.push((key.into(), None));
        self
    }

    /// Takes every variable out of the environment, those of the embedder and those that were set
    /// before. Set again after that, one is there. Defaults to the environment of the embedder.
    ///
    /// Without `PATH` a name of a program is looked up where the system looks by itself.
    ///
    /// # Examples
    ///
    /// ```
    /// let _ = quell_process::Process::new("env").env_clear().env("PATH", "/usr/bin:/bin");
    /// ```
    pub fn env_clear(mut self) -> Self {
        self.is_env_cleared = true;
        self.env.clear();
        self
    }

    /// Sets what is written to stdin, which is closed after it. Defaults to no stdin (`/dev/null`).
    ///
    /// A program may end without having read all of it; that is no failure.
    ///
    /// # Examples
    ///
    /// ```
    /// let _ = quell_process::Process::new("wc").input("one two three");
    /// ```
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Sets how many bytes of stdout are kept for the output. Defaults to 4 MiB. Zero keeps none.
    ///
    /// More than 8 MiB count as 8 MiB, so that the output fits into a payload. What is over the
    /// bound is still emitted line by line, and the output is marked as truncated.
    ///
    /// # Examples
    ///
    /// ```
    /// let _ = quell_process::Process::new("yes").output_bytes_max(1 << 10);
    /// ```
    pub const fn output_bytes_max(mut self, bytes: usize) -> Self {
        self.output_bytes_max = if bytes < OUTPUT_BYTES_MAX { bytes } else { OUTPUT_BYTES_MAX };
        self
    }

    /// Runs the program to its end, or until the run is stopped.
    ///
    /// What it wrote and how it ended becomes the output of the run (its partial output if it
    /// failed or was stopped) by [`RunContext::set_output`]. A body that was stopped yields the
    /// same as `Ok`, which the engine keeps as partial: a body that goes on after the process asks
    /// [`RunContext::checkpoint`] first.
    ///
    /// # Errors
    ///
    /// Fails if the program cannot be started, naming it and the reason; and if it ends with an
    /// exit code other than zero or by a signal although the run was not stopped, naming that and
    /// the last lines of stderr (of stdout if there are none); and if its last `result` was too
    /// long to be read. Yields [`Stopped`](quell::Stopped)
    /// if a stop was accepted before the start.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills the group at once. What it had written by then becomes the
    /// output, without an exit code; the run is not quiescent before the group is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::{Engine, Outcome, RunSpec};
    /// use quell_process::Process;
    ///
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
    /// let engine = Engine::new();
    /// let run = engine.submit(RunSpec::step("test"), |ctx| Process::new("false").run(ctx));
    /// assert!(matches!(run.unwrap().outcome().await, Outcome::Failed(_)));
    /// # });
    /// ```
    pub async fn run(mut self, ctx: RunContext) -> Result<ProcessOutput, Failure> {
        let program = shown(&self.program.to_string_lossy());
        let hold = ctx.hold_durably(Work::Process, program.as_str()).await?;
        let mark = survivors::new_mark();
        let (group, pipes) = Group::spawn(&mut self.command(&mark), mark, hold)
            .map_err(|error| self.start_failure(&error))?;
        tracing::debug!(%program, pid = group.id(), "process started");
        let input = self.input.take().unwrap_or_default();
        let running = Running::new(group, pipes, input, self.output_bytes_max, ctx)
            .map_err(|error| self.start_failure(&error))?;
        running.finish(&program).await
    }

    fn command(&self, mark: &str) -> Command {
        let mut command = Command::new(&self.program);
        if self.is_env_cleared {
            command.env_clear();
        }
        for (key, value) in &self.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command
            .args(&self.args)
            .env(MARKS, marks(mark))
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command
    }

    /// Says why the program did not start. The system's answer is the same whether the program or
    /// its working directory is missing, and does not tell a directory from a lack of rights.
    fn start_failure(&self, error: &io::Error) -> Failure {
        let whole = self.program.to_string_lossy();
        let program = word_of(&whole);
        let cwd = self.cwd.as_deref().unwrap_or(Path::new("."));
        // The dot makes it fail unless it is a directory that may be entered.
        if let Err(error) = cwd.join(".").metadata() {
            let cwd = cut_at(&cwd.to_string_lossy(), is_end_of_path);
            return Failure::new(format!(
                "cannot start `{program}`: its working directory `{cwd}`: {error}"
            ));
        }
        let is_path = self.program.as_encoded_bytes().contains(&b'/');
        if is_path && cwd.join(&self.program).is_dir() {
            return Failure::new(format!("cannot start `{program}`: it is a directory"));
        }
        let is_script = !is_path && whole.contains(|c: char| c == ' ' || "|&;<>$*".contains(c));
        let hint = if variable_of(&whole).is_some() {
            NO_VARIABLE
        } else if is_script {
            NO_SHELL
        } else if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) {
            NO_INTERPRETER
        } else {
            ""
        };
        Failure::new(format!("cannot start `{program}`: {error}{hint}"))
    }
}

/// Yields a program as messages name it: of a variable its value is left out, which may be a
/// secret.
fn shown(program: &str) -> String {
    let shown = |name: &str| format!("{}…", &program[..=name.len()]);
    variable_of(program).map_or_else(|| program.to_owned(), shown)
}

/// Yields what stands in the place of a program, and is none, as messages name it: without what is
/// behind the first space or one of `=:?`, which may be a secret.
fn word_of(program: &str) -> String {
    cut_at(program, |char| char.is_whitespace() || is_end_of_path(char))
}

/// Tells whether what is behind a character is probably no part of a path.
fn is_end_of_path(char: char) -> bool {
    matches!(char, '=' | ':' | '?' | '\n' | '\r')
}

/// Yields a text up to a character, which is shown if it is a sign.
fn cut_at(text: &str, is_end: impl Fn(char) -> bool) -> String {
    match text.char_indices().find(|(_, char)| is_end(*char)) {
        Some((at, char)) if char.is_whitespace() => format!("{}…", &text[..at]),
        Some((at, _)) => format!("{}…", &text[..=at]),
        None => text.to_owned(),
    }
}

/// Yields the name of the variable that a program was meant to set, `NAME=value` or `NAME:value`.
fn variable_of(program: &str) -> Option<&str> {
    let is_of_names = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let (name, _) = program.split_once(['=', ':'])?;
    let begins = name.starts_with(|first: char| is_of_names(first) && !first.is_ascii_digit());
    (begins && name.chars().all(is_of_names)).then_some(name)
}

/// What is said if the name of a program looks like a line for a shell.
const NO_SHELL: &str =
    "; no shell reads it: give the program and its arguments apart, or run `sh -c`";

/// What is said of a file that the system cannot run.
const NO_INTERPRETER: &str = "; a script begins with a line such as `#!/bin/sh`, and other \
                              programs are built for this machine";

/// What is said if the program is a variable as a shell has them before a program.
const NO_VARIABLE: &str = "; no shell reads it: a variable stands in `env`";

/// Yields the marks of a process: those of the embedder, which may be a process of another engine,
/// and its own.
fn marks(own: &str) -> OsString {
    let mut marks = env::var_os(MARKS).unwrap_or_default();
    if !marks.is_empty() {
        marks.push(",");
    }
    marks.push(own);
    marks
}

/// Bytes of stdout kept unless said otherwise.
const OUTPUT_BYTES: usize = 4 << 20;

/// The most bytes of stdout kept: as base64, and with the tail of stderr, they fit into a payload.
const OUTPUT_BYTES_MAX: usize = 8 << 20;
