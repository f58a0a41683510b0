//! A thread that looks into `/proc` for whoever may not block.
//!
//! It is made when a program starts, not when one is stopped: a program that has used up the
//! threads of its user must not keep itself, or another, from being stopped. It answers everybody
//! who asked before a look began with that look: a thousand processes that end together cost two
//! looks, not a thousand. A look that hangs takes up this one thread. Nothing foreign runs on it:
//! it wakes tasks of the runtime, never a body.

use std::io;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::watch;

use super::snapshot::{Snapshot, fresh};

/// Makes sure that there is a thread that looks.
///
/// # Errors
///
/// Fails if the system has no thread for it.
pub(crate) fn prepare() -> io::Result<()> {
    static THREAD: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if thread.as_ref().is_none_or(JoinHandle::is_finished) {
        *thread = Some(thread::Builder::new().name("quell-survivors".to_owned()).spawn(attend)?);
    }
    Ok(())
}

/// Waits for a look that began after an instant.
///
/// # Cancel safety
///
/// It can be dropped and called again.
pub(super) async fn snapshot(asked_at: Instant) -> Option<Snapshot> {
    // Subscribe first: an answer that comes before the wait is seen as well.
    let mut answers = ANSWER.subscribe();
    *IS_ASKED.lock().unwrap_or_else(PoisonError::into_inner) = true;
    ASKED.notify_one();
    let is_new = |last: &Option<Snapshot>| last.as_ref().is_some_and(|it| it.begun_at >= asked_at);
    answers.wait_for(is_new).await.ok()?.clone()
}

/// Looks whenever somebody asks; blocks the thread.
fn attend() {
    loop {
        let is_asked = IS_ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked = ASKED.wait_while(is_asked, |is_asked| !*is_asked);
        // Cleared before the look: who asks during it needs another one.
        *is_asked.unwrap_or_else(PoisonError::into_inner) = false;
        ANSWER.send_replace(Some(fresh(Instant::now())));
    }
}

/// Whether somebody has asked since the last look began.
static IS_ASKED: Mutex<bool> = Mutex::new(false);
static ASKED: Condvar = Condvar::new();

/// The last look.
static ANSWER: LazyLock<watch::Sender<Option<Snapshot>>> =
    LazyLock::new(|| watch::Sender::new(None));
