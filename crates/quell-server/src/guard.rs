//! `quell guard`: ends the programs of a `quell` that was killed.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::run::EXIT_USAGE;

/// Does something whose programs do not outlive this process, however it ends.
pub(crate) fn guarded(does: impl FnOnce() -> ExitCode) -> ExitCode {
    let mut command = Command::new(own_path());
    // Its environment stays readable for as long as it runs: no secrets, nothing it does not need.
    command.arg("guard").current_dir("/").env_clear();
    let _guarded = quell_process::guarded_by(command);
    does()
}

/// Guards whoever writes to stdin. A signal that asks to end is for that process: this one ends
/// after it.
pub(crate) fn run() -> ExitCode {
    let deaf = || -> io::Result<_> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
            // It stays handled, that is ignored, when nobody listens any more.
            drop(signal(kind)?);
        }
        drop(entered);
        Ok(runtime)
    };
    let Ok(_runtime) = deaf() else { return ExitCode::from(EXIT_USAGE) };
    quell_process::guard(io::stdin().lock());
    ExitCode::SUCCESS
}

/// The program that runs here, also if its file was replaced since.
fn own_path() -> PathBuf {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return running.to_path_buf();
    }
    env::current_exe().unwrap_or_else(|_| "quell".into())
}
