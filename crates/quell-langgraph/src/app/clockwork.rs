//! [`App::run_crons`]: makes the runs of crons when they are due.
//!
//! Each node looks, and makes the run with an idempotency key that follows from the cron and the
//! time: whoever comes second finds the run of the first one. Then the cron goes on to its next
//! time, which is a change as any other. What was due before this process was there is left to
//! others for a moment, and then to nobody.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use futures::{StreamExt as _, stream};
use quell_http::{Principal, View};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::app::App;
use crate::app::create::CreateRequest;
use crate::app::kept::{Kept, Kind};
use crate::options::CONTRACT;
use crate::wire::asked::micros;
use crate::wire::cron::Cron;
use crate::wire::exact::written;
use crate::wire::refusal::Refusal;

impl App {
    /// Begins to make the runs of crons, for as long as the routes are there.
    pub(super) fn run_crons(&self) {
        if Handle::try_current().is_err() || self.has_clockwork().swap(true, Ordering::SeqCst) {
            return;
        }
        let (app, woken) = (self.weak(), Arc::clone(self.cron_changed()));
        drop(tokio::spawn(async move {
            loop {
                let Some(app) = app.upgrade() else { return };
                let rest = app.fire_due().await;
                drop(app);
                let _ = timeout(rest, woken.notified()).await;
            }
        }));
    }

    /// Has the next time be looked for anew.
    pub(super) fn wake_crons(&self) {
        self.run_crons();
        self.cron_changed().notify_one();
    }

    /// Makes the runs that are due, and yields how long there is nothing to do.
    async fn fire_due(&self) -> Duration {
        let Ok(all) = self.all_kept(&self.all(), Kind::Cron).await else { return AGAIN };
        let all = all.into_iter().filter_map(|kept| Cron::of(&kept.body).map(|cron| (kept, cron)));
        let now = SystemTime::now();
        let (due, later): (Vec<_>, Vec<_>) = all
            .filter_map(|(kept, cron)| Some((cron.due()?, kept, cron)))
            .partition(|(at, ..)| *at <= now);
        // What other nodes make is found by looking.
        let longest = if self.has_records() { LOOK } else { IDLE };
        let next = later.iter().filter_map(|(at, ..)| at.duration_since(now).ok()).min();
        let fired = due.into_iter().map(|(at, kept, cron)| self.fire(at, kept, cron));
        let fired: Vec<_> = stream::iter(fired).buffer_unordered(AT_ONCE).collect().await;
        let next = if fired.is_empty() { next } else { Some(AGAIN.min(next.unwrap_or(AGAIN))) };
        next.unwrap_or(longest).min(longest)
    }

    /// Makes the run of a cron that is due, and has the cron go on to its next time.
    async fn fire(&self, at: SystemTime, kept: Kept, mut cron: Cron) {
        let now = SystemTime::now();
        if at >= self.since() {
            match self.make_run_of(at, &kept, &cron).await {
                // Nothing was made: it is tried again.
                Err(refusal) if refusal.status == StatusCode::SERVICE_UNAVAILABLE => return,
                Err(refusal) if refusal.status == StatusCode::NOT_FOUND => {
                    if self.is_orphan(&kept, &cron).await {
                        let _ = self.keep_no_more(&kept).await;
                        return;
                    }
                    // This node has not its graph; another one may.
                    if self.is_left_to_others(at, now) {
                        return;
                    }
                }
                // The next time may find room.
                Ok(()) | Err(_) => {}
            }
        } else if self.is_left_to_others(at, now) {
            return;
        }
        cron.go_on(now);
        // Another node was faster, or somebody has changed it.
        let _ = self.keep(&kept.changed(written(&cron))).await;
    }

    fn is_left_to_others(&self, at: SystemTime, now: SystemTime) -> bool {
        self.is_node() && now.duration_since(at).is_ok_and(|late| late < OTHERS)
    }

    /// Tells whether the thread of a cron, or its assistant, is there no more.
    async fn is_orphan(&self, kept: &Kept, cron: &Cron) -> bool {
        let is_gone = |refusal: Refusal| refusal.status == StatusCode::NOT_FOUND;
        let view = self.view_of(kept, cron);
        if let Some(thread) = cron.thread()
            && self.thread_of(&view, thread).await.err().is_some_and(is_gone)
        {
            return true;
        }
        match cron.own_assistant() {
            Some(id) => matches!(self.kept(Kind::Assistant, id).await, Ok(None)),
            None => false,
        }
    }

    async fn make_run_of(&self, at: SystemTime, kept: &Kept, cron: &Cron) -> Result<(), Refusal> {
        let view = self.view_of(kept, cron);
        let create = cron.create(kept.id, at)?;
        let key = format!("cron:{}:{}", kept.id, micros(at).unwrap_or_default());
        let key = HeaderValue::from_str(&key).map_err(|_| Refusal::internal())?;
        let headers = HeaderMap::from_iter([(KEY, key)]);
        let (thread, path) = (cron.thread(), "/runs/crons");
        let request =
            CreateRequest { thread, create, path, body: b"", headers: &headers, nth: None };
        self.create(&view, request).await.map(drop)
    }

    /// Yields the view of whoever made a cron, with the rights of then.
    fn view_of(&self, kept: &Kept, cron: &Cron) -> View {
        let mut who = match kept.owner.as_deref() {
            None => Principal::anonymous(),
            Some(owner) => Principal::named(owner),
        };
        if let Some(scopes) = &cron.scopes {
            who = who.scopes(scopes.iter().cloned());
        }
        let who = if cron.is_admin { who.admin() } else { who };
        self.service().view(CONTRACT, who)
    }
}

const KEY: axum::http::HeaderName = axum::http::HeaderName::from_static("idempotency-key");

/// The pauses between two looks: after one that made something or failed, with a store, and without
/// one, where whoever makes or changes a cron says so.
const AGAIN: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_hours(1);

/// How long other nodes have for what was due before this one was there.
const OTHERS: Duration = Duration::from_mins(1);

/// Runs that are made at once.
const AT_ONCE: usize = 8;
