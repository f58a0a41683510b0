//! [`run`]: the command `quell guard`, which ends the programs of a `quell` that was killed, and
//! [`guarded`], which starts it.

use std::env;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::EXIT_USAGE;

/// Calls a function whose programs do not outlive this process, however it ends.
pub(crate) fn guarded(does: impl FnOnce() -> ExitCode) -> ExitCode {
    let mut command = Command::new(own_path());
    // Others can read the environment of a process while it runs, so the guardian gets none.
    command.arg("guard").current_dir("/").env_clear();
    let _guarded = quell_process::guarded_by(command);
    does()
}

/// Guards the process that writes to stdin. Signals that ask it to end are ignored: the guardian
/// ends after the process that it guards.
pub(crate) fn run() -> ExitCode {
    let deaf = || -> io::Result<_> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
            // The handler stays installed after the listener is dropped, so the signal is ignored.
            drop(signal(kind)?);
        }
        drop(entered);
        Ok(runtime)
    };
    let Ok(_runtime) = deaf() else { return ExitCode::from(EXIT_USAGE) };
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(stdout) => quell_process::guard_and_tell(io::stdin().lock(), stdout.into()),
        Err(_) => quell_process::guard(io::stdin().lock()),
    }
    ExitCode::SUCCESS
}

/// Yields the path of this program, which on Linux works even if its file was replaced since.
fn own_path() -> PathBuf {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return running.to_path_buf();
    }
    env::current_exe().unwrap_or_else(|_| "quell".into())
}
