//! [`App::run_crons`]: makes the runs of crons when they are due.
//!
//! A run is made under an idempotency key that follows from the cron and the time, and then the
//! cron goes on to its next time, which is a change as any other. So whoever tries again, another
//! node or the next process, finds that it was made, also if it has been deleted since.
//!
//! One timer runs, to the next time of all crons that this process knows; none if none is due. It
//! knows those that were made or changed through it. The others it reads when it starts, and
//! whenever it takes in what another process or node has left: until then that one makes the runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures::{StreamExt as _, future, stream};
use tokio::runtime::Handle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::app::App;
use crate::app::wakes::{Wake, Wakes};
use crate::wire::asked::micros;

impl App {
    /// Begins to make the runs of crons, for as long as the routes are there.
    pub(super) fn run_crons(&self) {
        if Handle::try_current().is_err()
            || self.crons_known().has_clockwork.swap(true, Ordering::SeqCst)
        {
            return;
        }
        let running = Running(Arc::clone(&self.crons_known().has_clockwork));
        let app = self.weak();
        let mut wakes = Wakes::of(self.engine(), &self.crons_known().woken);
        drop(tokio::spawn(async move {
            let _running = running;
            let (mut is_read, mut clocks) = (false, Clocks::now());
            while let Some(this) = app.upgrade() {
                is_read &= !clocks.was_set_back();
                is_read = is_read || this.look_at_crons().await.is_ok();
                let rest = this.make_due().await;
                let again = rest.into_iter().chain((!is_read).then_some(AGAIN)).min();
                let rest = again.filter(|_| !this.service().is_draining());
                drop(this);
                match wakes.next(rest).await {
                    Wake::TakenOver => is_read = false,
                    Wake::Other => {}
                    Wake::Over => return,
                }
            }
        }));
    }

    /// Makes the runs that are due, and yields how long there is nothing to do; none if there is
    /// nothing at all.
    pub(super) async fn make_due(&self) -> Option<Duration> {
        let (due, _) = self.crons_known().due(now_us());
        let made = due.into_iter().map(|id| self.make_in_time(id));
        stream::iter(made).buffer_unordered(AT_ONCE).for_each(future::ready).await;
        let now = now_us();
        let (due, next) = self.crons_known().due(now);
        let again = (!due.is_empty()).then_some(Duration::ZERO);
        let next = next.map(|at| Duration::from_micros(at.saturating_sub(now)).min(LOOK_AGAIN));
        again.into_iter().chain(next).min()
    }

    /// Makes the run of a cron that seems to be due, and waits for that, but not for long: others
    /// are due as well. It goes on by itself then.
    async fn make_in_time(&self, id: Uuid) {
        // Until that is done nobody begins anew.
        self.crons_known().put_off(id, later_us(LOOK_AGAIN));
        let app = self.clone();
        let making = tokio::spawn(async move {
            if !app.make_due_of(id).await {
                app.crons_known().put_off(id, later_us(AGAIN));
            }
        });
        let _ = timeout(PATIENCE, making).await;
    }
}

/// Says, when it leaves, that nobody makes the runs any more: its runtime has gone, or it has
/// panicked. Whoever makes or changes a cron next begins anew.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// The clock of the host and the one that nobody sets, as they stood when they were looked at last.
struct Clocks(SystemTime, Instant);

impl Clocks {
    fn now() -> Self {
        Self(SystemTime::now(), Instant::now())
    }

    /// Looks again, and tells whether the clock of the host was set back since the last look.
    fn was_set_back(&mut self) -> bool {
        let before = std::mem::replace(self, Self::now());
        let passed = self.1.duration_since(before.1).saturating_sub(SET_BACK_LEAST);
        before.0.checked_add(passed).is_some_and(|least| self.0 < least)
    }
}

fn now_us() -> u64 {
    micros(SystemTime::now()).unwrap_or_default()
}

fn later_us(by: Duration) -> Option<u64> {
    micros(SystemTime::now() + by)
}

/// The pause behind a try that failed, since the store is in trouble.
const AGAIN: Duration = Duration::from_secs(5);

/// The longest sleep before a time that is to come: clocks may be set.
const LOOK_AGAIN: Duration = Duration::from_mins(10);

/// A clock that was set back by less is only being kept right.
const SET_BACK_LEAST: Duration = Duration::from_secs(2);

/// How long the others of a batch wait for a run to be made.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs that are made at once.
const AT_ONCE: usize = 8;
