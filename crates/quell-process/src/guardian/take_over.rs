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

use super::guarded::{LOOK_PAUSE, hold, is_guarded};
use super::ledger::{self, Ledger};

/// What is known of the programs of the processes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TakenOver {
    /// Nothing of them was found any more: the last guardian of each process has said so, or there
    /// was none because there were no programs.
    Ended,
    /// No guardian of them is left, and not every one has said that it found nothing: it was killed
    /// with its process, or gave up, or the file is new.
    Unknown,
    /// A guardian of them is at work still.
    Late,
}

/// Waits until the guardians of earlier processes with this file have ended, for so long at most,
/// then has those of this process keep the file locked. Yields what is known of the programs that
/// they guarded. A guardian needs 10.5 s at most, and one that was killed is not waited for: what
/// it guarded may run on. Zero looks once. A time that no clock can count to, such as
/// [`Duration::MAX`], has no end.
///
/// The file is made if it is not there, and has some lines for the next process. A process that
/// is in doubt leaves that to those that follow, until it says with
/// [`forget_doubt`](crate::forget_doubt) that nobody has to know any more. The caller sees to it
/// that no two processes have the same one at once, and that [`guarded_by`](crate::guarded_by) was
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
/// // The file is new: nothing tells of processes before this one.
/// let taken = quell_process::take_over(&file, Duration::from_secs(15)).await.unwrap();
/// assert_eq!(taken, quell_process::TakenOver::Unknown);
/// # std::fs::remove_file(file).unwrap();
/// # });
/// ```
pub async fn take_over(file: &Path, at_most: Duration) -> io::Result<TakenOver> {
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
    let taken = if have_ended {
        let is_sure = ledger::is_sure(&file);
        // Nobody else writes now.
        file.set_len(0)?;
        if is_sure { TakenOver::Ended } else { TakenOver::Unknown }
    } else {
        TakenOver::Late
    };
    // What nobody guards is in doubt from the beginning.
    let ledger = Ledger::begin(&file, taken != TakenOver::Ended || !is_guarded());
    if have_ended {
        // A lock that is changed in place is another one on each system.
        file.unlock()?;
    }
    // Also beside one that has not ended: who comes next waits for both.
    file.try_lock_shared()?;
    hold(file, ledger);
    Ok(taken)
}

fn open(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.read(true).append(true).create(true).open(file)
}
