//! Writing on stdout, and whether anybody still reads it.

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
    if let Ok(stdout) = watched() {
        while let Ok(ready) = stdout.ready(Interest::ERROR).await {
            if ready.is_error() {
                return;
            }
        }
    }
    std::future::pending::<()>().await;
}

/// Watches a duplicate, and only watches it: it stays a blocking descriptor, because its mode
/// belongs to everybody who shares it.
fn watched() -> io::Result<Sender> {
    Sender::from_owned_fd_unchecked(io::stdout().as_fd().try_clone_to_owned()?)
}

/// Writes a text for whoever asked, and yields the exit code: a reader that left has had enough.
pub(crate) fn say(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: stdout cannot be written: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to stderr; with nobody there, nobody is told.
pub(crate) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
