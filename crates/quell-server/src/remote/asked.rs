//! [`Asked`]: what a service was asked, until it is known that it has stopped.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use quell::{Hold, RunContext, Stopped, Work};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::about::About;
use super::caller::Caller;
use super::cancel::Cancel;
use super::posting::Posting;
use crate::places::{self, Place};

/// What a service was asked for a run. It is in doubt from the request on until its answer has
/// ended, or a cancel was confirmed.
///
/// Dropped in doubt, the run is not quiescent and names the service; the cancel is posted for a
/// while longer.
pub(super) struct Asked {
    ctx: RunContext,
    /// None once nothing is in doubt any more.
    hold: Option<Hold>,
    /// The connection of the request that is under way.
    connection: Option<CaptureConnection>,
    /// A request before it had a connection, and its end is not known.
    is_one_lost: bool,
    /// The place of the request, and of the first cancel after it; none between two requests.
    place: Option<Place>,
    stop: Stop,
    /// The cancel, once it is posted.
    confirming: Option<Confirming>,
}

/// Ends when a cancel is confirmed.
type Confirming = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a service is told to stop, and for how long its answer is waited for.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) cancel: Option<Cancel>,
    pub(super) caller: Arc<Caller>,
    pub(super) about: Arc<About>,
    pub(super) confirm: Duration,
}

impl Stop {
    /// Yields what posts the cancel, if there is one, in this place or in its turn.
    fn confirming(&self, place: &mut Option<Place>) -> Option<Confirming> {
        let (caller, about) = (Arc::clone(&self.caller), Arc::clone(&self.about));
        Some(Box::pin(self.cancel.clone()?.confirmed(caller, about, place.take())))
    }
}

impl Asked {
    /// Waits for the place of the first request.
    ///
    /// # Errors
    ///
    /// Fails if the run is to stop.
    pub(super) async fn new(ctx: &RunContext, name: &str, stop: Stop) -> Result<Self, Stopped> {
        let place = Some(places::take(ctx).await?);
        let hold = Some(ctx.hold_durably(Work::Remote, name).await?);
        let ctx = ctx.clone();
        Ok(Self { ctx, hold, connection: None, is_one_lost: false, place, stop, confirming: None })
    }

    /// Waits for the place of a request that is about to be sent, and notes it. The one before may
    /// still be carried out.
    pub(super) async fn sends(&mut self, request: &mut Request<Full<Bytes>>) {
        if self.place.is_none() {
            self.place = Some(places::next().await);
        }
        self.is_one_lost = self.is_in_doubt();
        self.connection = Some(capture_connection(request));
    }

    /// Gives the place of the request back, until the next one is sent.
    pub(super) fn rests(&mut self) {
        self.place = None;
    }

    /// Notes that the service has refused the request, which ends that one.
    pub(super) fn refused(&mut self) {
        self.connection = None;
    }

    /// Notes that the service has answered for the run, to the end.
    pub(super) fn answered(&mut self) {
        self.connection = None;
        self.is_one_lost = false;
    }

    /// Tells whether the service may execute something: there was a connection for a request, and
    /// its end is not known.
    pub(super) fn is_in_doubt(&self) -> bool {
        let is_connected = |it: &CaptureConnection| it.connection_metadata().is_some();
        self.is_one_lost || self.connection.as_ref().is_some_and(is_connected)
    }

    /// Tells a service that is in doubt to stop, and waits for its answer as long as the grace
    /// allows. The request was dropped before.
    ///
    /// # Cancel safety
    ///
    /// What drops it drops this as well, in doubt. The cancel goes on.
    pub(super) async fn stop(&mut self) {
        if !self.is_in_doubt() {
            return;
        }
        self.confirming = self.stop.confirming(&mut self.place);
        let Some(confirming) = &mut self.confirming else { return };
        let now = Instant::now();
        let grace = self.ctx.deadline().unwrap_or(now).saturating_duration_since(now);
        // The body is over before the hard deadline, so that it is not aborted.
        let wait = grace.saturating_sub((grace / 10).min(END_TIME_MAX));
        if tokio::time::timeout(wait, confirming).await.is_ok() {
            self.answered();
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let is_in_doubt = self.is_in_doubt();
        let Some(mut hold) = self.hold.take().filter(|_| is_in_doubt) else { return };
        hold.abandon();
        let posting = self.stop.cancel.is_some().then(Posting::begin);
        // A runtime that is gone has no other run to tell of it.
        if let Ok(runtime) = Handle::try_current() {
            // A service that answers once it has stopped is waited for, and not told again.
            let confirming =
                self.confirming.take().or_else(|| self.stop.confirming(&mut self.place));
            let (run, confirm) = (self.ctx.run().clone(), self.stop.confirm);
            runtime.spawn(doubt(hold, run, confirm, confirming, posting));
        }
    }
}

/// Holds a run until its service confirms, or until nobody waits for that any longer.
async fn doubt(
    hold: Hold,
    run: quell::RunRef,
    confirm: Duration,
    confirming: Option<Confirming>,
    posting: Option<Posting>,
) {
    let wait = WAITS.try_acquire();
    let confirm = if wait.is_ok() { confirm } else { Duration::ZERO };
    let over = async {
        // What is dropped before the end of the run is not named by it.
        run.ended_status().await;
        tokio::time::sleep(confirm).await;
    };
    let confirmed = async {
        match confirming {
            Some(confirming) => confirming.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // A confirmation that is there counts.
        biased;
        () = confirmed => {}
        () = over => {}
    }
    drop(hold);
    drop(posting);
}

/// The services in doubt of ended runs that are waited for at once; those of further runs are
/// named, and not waited for.
static WAITS: Semaphore = Semaphore::const_new(WAITS_MAX);
const WAITS_MAX: usize = 1_024;

/// The body of a stopped run ends this long before the hard deadline, or a tenth of the grace if
/// that is less.
const END_TIME_MAX: Duration = Duration::from_millis(500);
