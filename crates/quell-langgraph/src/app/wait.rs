//! [`App::wait_for`]: waits for the end of a run, or for its pause, and makes its final body
//! (contract, section 7).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quell::{Payload, RunRef, RunReport};
use quell_http::{BodyError, Charge, Overdrawn, View};
use serde_json::json;
use tokio::time::Instant;

use crate::app::App;
use crate::app::find::{Found, Located};
use crate::threads::{FinalBody, Tracked, Unmade};
use crate::values::{Fold, Values, bytes_of};
use crate::wire::failure;
use crate::wire::interrupt::Interrupt;

impl App {
    /// Waits for the end or the pause of a run for a client, then for room until the patience is
    /// over, and yields the final body. The guard of the answer holds the client's policy; this
    /// wait has none.
    ///
    /// While it waits for room it holds nothing of the run, and finds the run again afterwards: the
    /// body, its values and the report would not be counted. The wait ends early if another client
    /// takes the same body, which is shared and needs no second room.
    ///
    /// # Errors
    ///
    /// Fails if there is no room for it among what is under way, or it was forgotten meanwhile.
    pub(crate) async fn wait_for(
        &self,
        view: &View,
        located: Located,
        joins: bool,
        patience: Duration,
    ) -> Result<Bytes, Overdrawn> {
        let mut interrupt = None;
        if let Located::Kept(Found { run, tracked, thread }) = &located {
            let asked = run.paused().await;
            interrupt = asked.map(|asked| Interrupt::new(run.id(), run.attempt(), asked));
            // One that is left to another node, paused or before it started, has not ended.
            interrupt = interrupt.or_else(|| Interrupt::of(&run.into()));
            if interrupt.is_none() && !run.status().is_terminal() {
                return Ok(failure::not_known_text().into());
            }
            if !self.service().holds(run).await {
                return Ok(failure::not_known_text().into());
            }
            if let Some(thread) = thread {
                self.know_start(thread, tracked, run).await;
            }
        }
        if let Located::Deleted(deleted) = &located
            && !self.service().holds(&deleted.run).await
        {
            return Ok(failure::not_known_text().into());
        }
        let tracked = located.tracked();
        let (thread, run) = (tracked.about.thread, tracked.id.as_uuid());
        let of = located.thread().map(Arc::clone).filter(|_| joins);
        let is_shared = Arc::clone(&tracked.body.is_shared);
        let is_foreign = matches!(&located, Located::Kept(Found { thread: None, .. }));
        let (until, mut located, mut room) = (Instant::now() + patience, located, None);
        loop {
            let mut shared = pin!(is_shared.notified());
            // From here on none is missed.
            shared.as_mut().enable();
            let body = match located {
                Located::Kept(found) => {
                    self.body_of(view, found, joins, interrupt.as_ref(), room).await
                }
                Located::Deleted(deleted) => {
                    let bytes = deleted.body.len();
                    deleted.body(view, room).map_err(|error| Unmade::NoRoom { bytes, error })
                }
            };
            let (bytes, error) = match body {
                Ok(body) => {
                    // Of a join it has the values of the thread, which later runs have left.
                    if let Some(of) = of {
                        let is_known = self.heard_of(&of).await.is_ok();
                        return Ok(if is_known { body } else { failure::not_known_text().into() });
                    }
                    return Ok(body);
                }
                Err(Unmade::NoRoom { bytes, error }) => (bytes, error),
                Err(Unmade::Broken(BodyError::Overdrawn(error))) => return Err(error),
                Err(Unmade::Broken(_)) => return Ok(failure::internal_text().into()),
            };
            // First a body to share, which needs no room.
            room = tokio::select! {
                biased;
                () = shared => None,
                room = view.room_for_answer(bytes, until) => Some(room?),
            };
            located = self.find_again(view, thread, run, is_foreign).ok_or(error)?;
        }
    }

    async fn body_of(
        &self,
        view: &View,
        found: Found,
        joins: bool,
        interrupt: Option<&Interrupt>,
        room: Option<Charge>,
    ) -> Result<Bytes, Unmade> {
        let (report, tracked) = (found.run.report(), Arc::clone(&found.tracked));
        let (mut fold, mut values) = (Fold::default(), None);
        if let Some(thread) = &found.thread {
            fold = thread.look(self.engine(), &tracked, &found.run);
            let of_thread = thread.values(self.engine());
            // What a paused run has said by then is not among the values of its thread.
            let is_of_thread = joins && interrupt.is_none();
            values = (is_of_thread || fold.current().is_none()).then_some(of_thread).flatten();
        } else if tracked.service.is_some() {
            // Its thread has lost it: all there is are its own values.
            Box::pin(tracked.catch_up_alone(&self.all(), &found.run)).await;
            fold = tracked.fold.lock().clone();
        }
        let shown = values.as_ref().or(fold.current()).map(Arc::clone);
        let bytes = match &shown {
            // It is short, or charged when it is made.
            _ if self.error_of(&report, &tracked).is_some() => 0,
            Some(values) => bytes_of(values),
            None => report.output.as_ref().map_or(0, Payload::bytes_max),
        };
        if let Some(interrupt) = interrupt {
            let (interrupt, bytes) = (interrupt.clone(), bytes + interrupt.value.bytes_max());
            let make = move || interrupt.within(shown.as_deref()).to_string();
            // Not shared: the values may be those of the end as well.
            return FinalBody::default().get(view, None, bytes, room, make).await;
        }
        let app = self.clone();
        let run = found.run.clone();
        let make = move || app.final_text(&run, &report, &tracked, &fold, values.as_ref());
        let body = found.tracked.body.get(view, shown.as_ref(), bytes, room, make).await;
        // A read right after this answer must not find a run that is to be deleted.
        if let Some(thread) = &found.thread {
            self.delete_if_quiescent(thread, &found.tracked);
        }
        body
    }

    /// Yields the final body of a run (contract, section 7): of `wait` its own values, of `join`
    /// those of its thread.
    pub(crate) fn final_text(
        &self,
        run: &RunRef,
        report: &RunReport,
        tracked: &Tracked,
        fold: &Fold,
        values: Option<&Arc<Values>>,
    ) -> String {
        if let Some(error) = self.error_of(report, tracked) {
            return json!({ "__error__": error }).to_string();
        }
        let mut fold = fold.clone();
        tracked.finish(Some(self.service()), &mut fold, run, report.output.as_ref());
        let values = values.or(fold.current());
        values.and_then(|values| serde_json::to_string(&**values).ok()).unwrap_or("{}".into())
    }
}
