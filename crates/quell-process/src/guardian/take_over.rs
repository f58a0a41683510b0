//! [`take_over`]: a process begins when the guardians of those before it have done their work.
//!
//! A file tells that. Each guardian has it open, and locked with all others of its process, until
//! it ends; the system gives the lock back, however it ends. So has the process itself: there is no
//! moment at which a program runs, a guardian is about to begin, and nobody has the lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::guarded::{LOOK_PAUSE, hold};

/// Waits until the guardians of earlier processes with this file have ended all that they guarded,
/// for so long at most, then has those of this process keep the file locked. Tells whether they
/// have. A guardian needs 10.5 s at most, and one that was killed is not waited for: what it
/// guarded may run on. Zero looks once. A time that no clock can count to, such as
/// [`Duration::MAX`], has no end.
///
/// The file is made if it is not there, and nothing is written into it. The caller sees to it that
/// no two processes have the same one at once, and that [`guarded_by`](crate::guarded_by) was
/// called before; otherwise it does nothing but wait. A second call waits for this process as well
/// if the file is the same, and has it hold the other file instead of the first one otherwise.
///
/// # Errors
///
/// Fails if the file can be neither opened nor made, or cannot be locked.
///
/// # Cancel safety
///
/// Dropped, it has done nothing.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
/// # .block_on(async {
/// use std::time::Duration;
///
/// let file = std::env::temp_dir().join(format!("take-over-{}", std::process::id()));
/// // There was no process before this one.
/// assert!(quell_process::take_over(&file, Duration::from_secs(15)).await.unwrap());
/// # std::fs::remove_file(file).unwrap();
/// # });
/// ```
pub async fn take_over(file: &Path, at_most: Duration) -> io::Result<bool> {
    let file = open(file)?;
    let until = Instant::now().checked_add(at_most);
    let have_ended = loop {
        match file.try_lock() {
            Ok(()) => break true,
            Err(TryLockError::WouldBlock) if until.is_some_and(|at| Instant::now() >= at) => {
                break false;
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOOK_PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    };
    if have_ended {
        // A lock that is changed in place is another one on each system.
        file.unlock()?;
    }
    // Also beside one that has not ended: who comes next waits for both.
    file.try_lock_shared()?;
    hold(file);
    Ok(have_ended)
}

fn open(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.read(true).write(true).create(true).truncate(false).open(file)
}
