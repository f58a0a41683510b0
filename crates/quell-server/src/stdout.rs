//! [`closed`], [`say`], [`said`] and [`complain`]: whether stdout still has a reader, and writing
//! to both streams.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;

/// Waits until the last reader of stdout has gone away, as in `quell run … | head -1`. Waits for
/// ever if stdout is a file, which has no reader.
///
/// Without it a closed pipe shows only at the next write, which may be minutes away. Must be
/// called inside a tokio runtime.
///
/// # Cancel safety
///
/// Nothing is lost: the pipe stays closed.
pub(crate) async fn closed() {
    if let Ok(stdout) = duplicate() {
        while let Ok(ready) = stdout.ready(Interest::ERROR).await {
            if ready.is_error() {
                return;
            }
        }
    }
    std::future::pending::<()>().await;
}

/// Duplicates stdout so that its readiness can be polled. The descriptor stays in blocking mode,
/// because the mode is shared with every process that has it open.
fn duplicate() -> io::Result<Sender> {
    Sender::from_owned_fd_unchecked(io::stdout().as_fd().try_clone_to_owned()?)
}

/// Writes a text to stdout and yields the exit code: success also if the reader has left.
pub(crate) fn say(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    // Without the flush nobody learns that the end of a last line is not written.
    said(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Yields the exit code of what was written to stdout, as [`say`] does.
pub(crate) fn said(written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: stdout cannot be written: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a text to stderr. A failure is ignored: there is nowhere left to report it.
pub(crate) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
