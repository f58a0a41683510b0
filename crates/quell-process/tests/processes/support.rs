//! What the tests share.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use quell::{CancelRequest, Engine, EventKind, Outcome, RunHandle, RunRef, RunReport, RunSpec};
use quell_process::{Process, ProcessOutput};
use serde_json::Value;

pub(crate) use quell_test_support::eventually;

/// A shell script as a process.
pub(crate) fn script(text: &str) -> Process {
    Process::new("sh").arg("-c").arg(text)
}

/// As [`script`], once the start is over: from then on nothing gets the number of the program but
/// by inheritance.
pub(crate) fn started_script(text: &str) -> Process {
    script(&format!("read _; {text}")).input("\n")
}

/// A process that runs as the body of a run, and the engine, without which it would be stopped.
pub(crate) struct Started {
    engine: Engine,
    handle: RunHandle<ProcessOutput>,
}

impl Started {
    pub(crate) fn run(&self) -> &RunRef {
        self.handle.run()
    }

    /// Waits for the end: the outcome, and what remains of the run.
    pub(crate) async fn end(self) -> (Outcome<ProcessOutput>, Arc<RunReport>) {
        let run = self.run().clone();
        let ended = async { (self.handle.outcome().await, run.quiescent().await) };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        drop(self.engine);
        ended.expect("the run ends")
    }

    /// Stops the run and waits for the end: what the body returned, and what remains of the run.
    pub(crate) async fn stop(self) -> (Option<ProcessOutput>, Arc<RunReport>) {
        self.run().cancel(CancelRequest::because("the test says so"));
        match self.end().await {
            (Outcome::Stopped { partial, .. }, report) => (partial, report),
            (_, report) => panic!("it was not stopped: {report:?}"),
        }
    }
}

/// Starts a process as the body of a run.
pub(crate) fn start(spec: RunSpec, process: Process) -> Started {
    let engine = Engine::new();
    let handle = engine.submit(spec, |ctx| process.run(ctx)).unwrap();
    Started { engine, handle }
}

/// Runs a process to its end.
pub(crate) async fn run(process: Process) -> (Outcome<ProcessOutput>, Arc<RunReport>) {
    start(RunSpec::step("process"), process).end().await
}

/// Runs a process that does not fail.
pub(crate) async fn output_of(process: Process) -> ProcessOutput {
    match run(process).await {
        (Outcome::Completed(output), _) => output,
        (_, report) => panic!("it did not complete: {report:?}"),
    }
}

/// Runs a process that fails: the message, and the partial output.
pub(crate) async fn failure_of(process: Process) -> (String, Option<Value>) {
    let (_, report) = run(process).await;
    let error = report.error.as_ref().unwrap_or_else(|| panic!("it did not fail: {report:?}"));
    (error.to_string(), report.partial.as_ref().map(|partial| partial.parse().unwrap()))
}

/// Runs a process and collects what it emitted.
pub(crate) async fn events_of(process: Process) -> Vec<Value> {
    let started = start(RunSpec::step("process"), process);
    let mut events = started.run().events();
    let mut emitted = Vec::new();
    while let Some(event) = events.next().await {
        match event.kind {
            EventKind::Emitted(payload) => emitted.push(payload.parse().unwrap()),
            EventKind::Refused { .. } => panic!("an event was over its bound"),
            _ => {}
        }
    }
    drop(started);
    emitted
}

/// A directory for one test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A directory that is there already, and goes with this.
    pub(crate) const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes `./program` of a source in C: for what a shell cannot do. A compiler is there, because
    /// it links these tests.
    #[cfg(target_os = "linux")]
    pub(crate) fn compile(&self, source: &str) {
        let file = self.0.join("program.c");
        fs::write(&file, source).unwrap();
        let mut cc = Command::new("cc");
        cc.arg("-pthread").arg("-o").arg(self.0.join("program")).arg(file);
        assert!(cc.status().unwrap().success());
    }

    /// Makes a program of a text. Another one writes it: what another test starts at that moment
    /// would hold a file of ours open, and nobody executes a file that is open for writing.
    pub(crate) fn executable(&self, name: &str, text: &str) -> PathBuf {
        let (source, file) = (self.0.join("source"), self.0.join(name));
        fs::write(&source, text).unwrap();
        assert!(Command::new("cp").arg(&source).arg(&file).status().unwrap().success());
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        file
    }

    /// Waits until a script has written its number to a file with `echo $$ > FILE`.
    pub(crate) async fn pid(&self, file: &str) -> Pid {
        let path = self.0.join(file);
        eventually("a script says its number", || {
            let text = fs::read_to_string(&path).ok()?;
            text.ends_with('\n').then(|| Pid(text.trim().parse().unwrap()))
        })
        .await
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The number of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pid(u32);

impl Pid {
    /// Tells whether it executes. One that is dead but not reaped does not. Of what loses its
    /// parent this is to be asked: nobody here knows when its new one reaps it.
    pub(crate) fn is_alive(self) -> bool {
        !matches!(self.state().as_str(), "" | "Z" | "X")
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn of(child: &Child) -> Self {
        Self(child.id())
    }

    pub(crate) fn number(self) -> i32 {
        self.0.try_into().unwrap()
    }

    /// Tells whether it has become a program of this name.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_named(self, name: &str) -> bool {
        fs::read_to_string(format!("/proc/{}/comm", self.0)).is_ok_and(|it| it.trim() == name)
    }

    /// Tells whether SIGCONT is what it waits for.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_suspended(self) -> bool {
        self.state() == "T"
    }

    /// Tells whether nothing is left of it, not even something to be reaped: of a leader, or where
    /// this process adopts.
    pub(crate) fn is_gone(self) -> bool {
        self.state().is_empty()
    }

    pub(crate) fn kill(self) {
        Command::new("kill").arg("-KILL").arg(self.0.to_string()).status().unwrap();
    }

    fn state(self) -> String {
        let ps = Command::new("ps").args(["-o", "state=", "-p", &self.0.to_string()]).output();
        String::from_utf8(ps.unwrap().stdout).unwrap().trim().to_owned()
    }
}

/// Tells whether a process is alive in whose environment a variable has this value.
#[cfg(target_os = "linux")]
pub(crate) fn is_any_alive(variable: &str, value: &str) -> bool {
    let pair = format!("{variable}={value}");
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut environments = processes.filter_map(|it| fs::read(it.path().join("environ")).ok());
    environments.any(|it| it.split(|byte| *byte == 0).any(|own| own == pair.as_bytes()))
}

/// Waits until the program has the number that its descendants inherit, and not the limit of its
/// parent.
#[cfg(target_os = "linux")]
pub(crate) const IS_NUMBERED: &str = "locks() { grep 'Max file locks' /proc/$1/limits; }
    until [ \"$(locks $$)\" != \"$(locks $PPID)\" ]; do :; done";

/// Runs a command without the mark and without the number: once it has made a session as well, it
/// is out of reach.
#[cfg(target_os = "linux")]
pub(crate) const UNKNOWN: &str = "prlimit --locks=unlimited env -i PATH=\"$PATH\"";
#[cfg(not(target_os = "linux"))]
pub(crate) const UNKNOWN: &str = "env -i PATH=\"$PATH\"";

/// Leaves a process behind that is out of reach, holds stdout and writes its number to `pid`. It is
/// born without the mark and the number: what gives them up itself is known by them to every look
/// that met it before, also to one for another program of these tests.
pub(crate) fn leave_out_of_reach() -> String {
    format!(
        r#"{UNKNOWN} setsid sh -c 'export P=$$; sh -c "
            while kill -0 \$P; do :; done 2> /dev/null; echo \$\$ > pid; exec sleep 600" &'"#
    )
}

/// A process that no engine has started, which goes with this.
#[cfg(target_os = "linux")]
pub(crate) struct Stranger(Child);

#[cfg(target_os = "linux")]
impl Stranger {
    /// Starts a program in its folder: for 100 s, if it is a `sleep`.
    pub(crate) fn start(program: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg("100").current_dir(program.parent().unwrap()).stdin(Stdio::null());
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::of(&self.0)
    }
}

#[cfg(target_os = "linux")]
impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// How often what a busy machine may be too slow for is tried again at most, where the bounds are
/// those of this crate and not of the test.
pub(crate) const ATTEMPTS: usize = 20;

/// Longer than anything takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);
