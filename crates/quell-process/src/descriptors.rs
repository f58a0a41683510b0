//! The limit of file descriptors: high for this process, and as it was for the programs it starts.

use std::sync::OnceLock;

use rustix::io;
use rustix::process::Pid;
#[cfg(target_os = "linux")]
use rustix::process::{Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// Raises the soft limit of file descriptors of this process to the hard one. Programs that are
/// started from here on get the soft limit as it was, because old ones break if it is high; they
/// may see the high one in the first moments.
///
/// On systems other than Linux the limit stays as it is. A second call changes nothing more.
///
/// # Errors
///
/// Fails if the system refuses it; then nothing has changed.
///
/// # Examples
///
/// ```
/// quell_process::raise_descriptors()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn raise_descriptors() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before })?;
        // The first call knows what was before.
        BEFORE.get_or_init(|| before.current);
    }
    Ok(())
}

/// Gives a program the soft limit as it was before it was raised, if it was.
pub(crate) fn restore(program: Pid) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Some(before) = BEFORE.get() {
        let limit = getrlimit(Resource::Nofile);
        let restored = Rlimit { current: *before, ..limit };
        prlimit(Some(program), Resource::Nofile, restored)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = program;
    Ok(())
}

/// The soft limit as it was; none while it was not raised.
static BEFORE: OnceLock<Option<u64>> = OnceLock::new();
