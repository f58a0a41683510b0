//! [`Reads`]: one who reads a log; and [`say`], the task that tells others of what is read and new.

use std::fmt;
use std::sync::Arc;

use quell_core::RunId;
use quell_core::cluster::LogWatch;
use quell_core::store::BoxFuture;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::member::Member;
use crate::watches::BREATH;

/// One who reads the log of a root, for as long as this lives.
pub(crate) struct Reads {
    member: Arc<Member>,
    root: RunId,
    woken: Arc<Notify>,
}

impl Reads {
    /// Says that the log is read.
    pub(crate) fn begin(member: &Arc<Member>, root: RunId) -> Self {
        Self { member: Arc::clone(member), root, woken: member.watches.add(root) }
    }
}

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reads").field(&self.root).finish()
    }
}

impl LogWatch for Reads {
    fn heard(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.woken.notified())
    }

    fn is_told(&self) -> bool {
        !self.member.is_deaf()
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.member.watches.remove(self.root, &self.woken);
    }
}

/// Says until it is dropped what is read here, and what is new of what others read. What cannot be
/// said is lost: those others look for themselves.
pub(crate) async fn say(member: Arc<Member>) {
    let (all, mut said_at) = (member.target.shared_channel(), Instant::now());
    loop {
        member.watches.wait(said_at).await;
        let words = member.watches.take(&member.channel, &all, &mut said_at);
        if !words.is_empty() {
            let began = Instant::now();
            let _ = member.say(words).await;
            // The server wakes every member for each notification: where that takes long, because
            // there are many, each of them says more at once and less often.
            sleep(BREATH.max(began.elapsed() * SHARE)).await;
        }
    }
}

/// A pause is at least so many times as long as what was said before it took. A notification takes
/// 0.6 ms where 10 members listen, and 3 ms with 100 of them.
const SHARE: u32 = 9;
