//! [`Asked`]: what a service was asked, until it is known that it has stopped.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use quell::{Hold, RunContext, Stopped, Work};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::about::About;
use super::caller::Caller;
use super::cancel::Cancel;
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
}

/// How a service is told to stop, and for how long its answer is waited for.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) cancel: Option<Cancel>,
    pub(super) caller: Arc<Caller>,
    pub(super) about: Arc<About>,
    pub(super) confirm: Duration,
}

impl Asked {
    /// Waits for the place of the first request.
    ///
    /// # Errors
    ///
    /// Fails if the run is to stop.
    pub(super) async fn new(ctx: &RunContext, name: &str, stop: Stop) -> Result<Self, Stopped> {
        let place = Some(places::take(ctx).await?);
        let hold = Some(ctx.hold(Work::Remote, name)?);
        Ok(Self { ctx: ctx.clone(), hold, connection: None, is_one_lost: false, place, stop })
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
    /// What drops it drops this as well, in doubt.
    pub(super) async fn stop(&mut self) {
        let Some(cancel) = self.stop.cancel.clone().filter(|_| self.is_in_doubt()) else { return };
        let now = Instant::now();
        let grace = self.ctx.deadline().unwrap_or(now).saturating_duration_since(now);
        // The body is over before the hard deadline, so that it is not aborted.
        let wait = grace.saturating_sub((grace / 10).min(END_TIME_MAX));
        let confirmed = cancel.confirmed(&self.stop.caller, &self.stop.about, &mut self.place);
        if tokio::time::timeout(wait, confirmed).await.is_ok() {
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
            let place = self.place.take();
            runtime.spawn(doubt(hold, self.ctx.run().clone(), self.stop.clone(), place, posting));
        }
    }
}

/// Holds a run until its service confirms, or until nobody waits for that any longer.
async fn doubt(
    hold: Hold,
    run: quell::RunRef,
    stop: Stop,
    place: Option<Place>,
    posting: Option<Posting>,
) {
    let wait = WAITS.try_acquire();
    let confirm = if wait.is_ok() { stop.confirm } else { Duration::ZERO };
    let over = async {
        // What is dropped before the end of the run is not named by it.
        run.ended_status().await;
        tokio::time::sleep(confirm).await;
    };
    let confirmed = async {
        // Without a cancel nothing is sent.
        let mut place = place.filter(|_| stop.cancel.is_some());
        match &stop.cancel {
            Some(cancel) => cancel.confirmed(&stop.caller, &stop.about, &mut place).await,
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

/// A cancel that is posted after the end of the run, or just before that.
struct Posting;

impl Posting {
    fn begin() -> Self {
        POSTING.send_modify(|count| *count += 1);
        Self
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        POSTING.send_modify(|count| *count -= 1);
    }
}

/// Tells whether cancels are posted to services in doubt.
pub(crate) fn is_posting() -> bool {
    *POSTING.borrow() > 0
}

/// Waits until no cancel is posted to a service in doubt.
pub(crate) async fn posted() {
    // Its sender is there as long as the process.
    let _ = POSTING.subscribe().wait_for(|count| *count == 0).await;
}

/// How many cancels are posted to services in doubt.
static POSTING: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// The services in doubt of ended runs that are waited for at once; those of further runs are
/// named, and not waited for.
static WAITS: Semaphore = Semaphore::const_new(WAITS_MAX);
const WAITS_MAX: usize = 1_024;

/// The body of a stopped run ends this long before the hard deadline, or a tenth of the grace if
/// that is less.
const END_TIME_MAX: Duration = Duration::from_millis(500);
