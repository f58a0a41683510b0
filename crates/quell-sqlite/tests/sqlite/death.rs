//! How a process dies at a point that a test names: no destructor runs, and nothing is flushed.
//!
//! Nothing in the store knows of it. What a file holds changes by writes only, so the limit of the
//! system for the length of files names the write that is the last one to begin; the waker of an
//! append is called after its COMMIT, by the thread that writes.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::Wake;

use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};

/// Kills this process.
pub(crate) fn now() -> ! {
    kill_process(getpid(), Signal::KILL).unwrap();
    loop {
        std::thread::park();
    }
}

/// Has the system kill this process as soon as it writes to a file behind so many bytes: before
/// that write if it begins there, within it if it begins before.
pub(crate) fn beyond(bytes: u64) {
    for (resource, most) in [(Resource::Core, 0), (Resource::Fsize, bytes)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).unwrap();
    }
}

/// A waker that kills this process.
pub(crate) struct AtWake;

impl Wake for AtWake {
    fn wake(self: Arc<Self>) {
        now();
    }
}

/// Tells whether a process was killed by itself, its parent or a write; another death is a failure.
pub(crate) fn is_of(status: ExitStatus) -> bool {
    let signal = status.signal();
    signal == Some(Signal::KILL.as_raw()) || signal == Some(Signal::XFSZ.as_raw())
}
