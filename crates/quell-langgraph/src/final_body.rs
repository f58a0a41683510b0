//! The final body of a run (contract, section 7): made once for all who take it at the same time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use quell::{Payload, RunReport};
use quell_http::{BodyError, Charge, Overdrawn, View, WeakCounted, aside};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::app::{App, Found};
use crate::threads::Tracked;
use crate::values::{Fold, Values};
use crate::wire::failure;

/// The final body that was made last of a run, for as long as a client takes it.
#[derive(Debug, Default)]
pub(crate) struct FinalBody(Mutex<Made>);

#[derive(Debug, Default)]
struct Made {
    /// The values that it shows, and nothing else: the error of a run stays the same.
    of: Weak<Values>,
    text: WeakCounted,
}

impl FinalBody {
    /// Yields the body that shows these values. The first client has it made, and is charged for
    /// it, in room that it found before, if any; those who come until all have taken it get the
    /// same one.
    async fn get(
        &self,
        view: &View,
        values: Option<&Arc<Values>>,
        weight: usize,
        room: Option<Charge>,
        make: impl FnOnce() -> String + Send + 'static,
    ) -> Result<Bytes, Unmade> {
        let of = values.map(Arc::downgrade).unwrap_or_default();
        // Held while it is made: all who wait for the run ask at its end.
        let mut last = self.0.lock().await;
        if last.of.ptr_eq(&of)
            && let Some(text) = last.text.upgrade()
        {
            return Ok(text.into());
        }
        let by = view.clone();
        // Charged where it is made, of which there are few at once.
        let written = aside(weight, async move {
            let text = make();
            let bytes = text.len();
            let counted = match room {
                Some(room) => by.counted_in(room, text),
                None => by.counted(text),
            };
            counted.map_err(|error| Unmade::NoRoom { bytes, error })
        });
        let text = written.await.map_err(Unmade::Broken)??;
        *last = Made { of, text: text.downgrade() };
        Ok(text.into())
    }
}

/// Why there is no final body.
enum Unmade {
    /// There is no room for so many bytes.
    NoRoom {
        bytes: usize,
        error: Overdrawn,
    },
    Broken(BodyError),
}

impl App {
    /// Waits for the end of a run for a client, and then so long for room, and yields the final
    /// body. The guard of the answer is the client's: this wait has no policy of its own.
    ///
    /// While it waits for room it holds nothing of the run, which it looks for again: the body, its
    /// values and the report would be counted to nobody.
    ///
    /// # Errors
    ///
    /// Fails if there is no room for it among what is under way, or it was forgotten meanwhile.
    pub(crate) async fn wait_for(
        &self,
        view: &View,
        mut found: Found,
        joins: bool,
        patience: Duration,
    ) -> Result<Bytes, Overdrawn> {
        found.run.ended().await;
        let (thread, run) = (found.tracked.about.thread, found.run.id().as_uuid());
        let is_own = found.thread.is_some();
        let (until, mut room) = (Instant::now() + patience, None);
        loop {
            let body = self.body_of(view, found, joins, room).await;
            let (bytes, error) = match body {
                Ok(body) => return Ok(body),
                Err(Unmade::NoRoom { bytes, error }) => (bytes, error),
                Err(Unmade::Broken(BodyError::Overdrawn(error))) => return Err(error),
                Err(Unmade::Broken(_)) => return Ok(failure::internal_text().into()),
            };
            let charge = view.room_for_answer(bytes, until).await?;
            // Without its thread it would be shown as another contract's: without the values on
            // which it started.
            let again = self.find(view, Some(thread), run);
            if let Some(again) = again.filter(|again| again.thread.is_some() == is_own) {
                (found, room) = (again, Some(charge));
            } else {
                let left = self.left(view, Some(thread), run).ok_or(error)?;
                return left.body_in(view, charge);
            }
        }
    }

    async fn body_of(
        &self,
        view: &View,
        found: Found,
        joins: bool,
        room: Option<Charge>,
    ) -> Result<Bytes, Unmade> {
        let (report, tracked) = (found.run.report(), Arc::clone(&found.tracked));
        let (mut fold, mut values) = (Fold::default(), None);
        let mut weight = tracked.weight + report.output.as_ref().map_or(0, Payload::bytes_max);
        if let Some(thread) = &found.thread {
            fold = thread.look(self.engine(), &tracked, &found.run);
            let of_thread = thread.values(self.engine());
            values = (joins || fold.current().is_none()).then_some(of_thread).flatten();
            weight += thread.weight();
        }
        let shown = values.as_ref().or(fold.current()).map(Arc::clone);
        let app = self.clone();
        let make = move || app.final_text(&report, &tracked, &fold, values.as_ref());
        let body = found.tracked.body.get(view, shown.as_ref(), weight, room, make).await;
        // The answer is the end: a read right after it must not find what is to be deleted.
        if let Some(thread) = &found.thread {
            self.bury_if_over(thread, &found.tracked);
        }
        body
    }

    /// Yields the final body of a run (contract, section 7): of `wait` its own values, of `join`
    /// those of its thread.
    pub(crate) fn final_text(
        &self,
        report: &RunReport,
        tracked: &Tracked,
        fold: &Fold,
        values: Option<&Arc<Values>>,
    ) -> String {
        if let Some(error) = self.error_of(report, tracked) {
            return json!({ "__error__": error }).to_string();
        }
        let mut fold = fold.clone();
        fold.finish(report.output.as_ref(), &tracked.about);
        let values = values.or(fold.current());
        values.and_then(|values| serde_json::to_string(&**values).ok()).unwrap_or("{}".into())
    }
}
