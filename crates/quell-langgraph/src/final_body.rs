//! [`FinalBody`]: the final body of a run (contract, section 7), made once for all clients that
//! take it at the same time.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quell::{Payload, RunReport};
use quell_http::{BodyError, Charge, Counted, Overdrawn, View, WeakCounted, offload_if_large};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::app::App;
use crate::find::{Found, Located};
use crate::threads::Tracked;
use crate::values::{Fold, Values};
use crate::wire::failure;

/// The final body that was made last of a run, for as long as a client takes it.
#[derive(Debug, Default)]
pub(crate) struct FinalBody {
    /// Held while it is made: all clients that wait for the run ask at its end.
    making: tokio::sync::Mutex<()>,
    last: Mutex<Shared>,
    /// Wakes clients that wait for room when there is a body to share, which needs none.
    is_shared: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The values that it shows, and nothing else: the error of a run stays the same.
    of: Weak<Values>,
    text: WeakCounted,
}

impl Shared {
    fn get(&self, of: &Weak<Values>) -> Option<Counted> {
        if self.of.ptr_eq(of) { self.text.upgrade() } else { None }
    }
}

impl FinalBody {
    /// Yields the body that shows these values, of about so many bytes. The first client has it
    /// made, in room that it found before, if any: nothing is made before there is room. Clients
    /// that come before the last one is done get the same body.
    async fn get(
        &self,
        view: &View,
        values: Option<&Arc<Values>>,
        bytes: usize,
        room: Option<Charge>,
        make: impl FnOnce() -> String + Send + 'static,
    ) -> Result<Bytes, Unmade> {
        let of = values.map(Arc::downgrade).unwrap_or_default();
        let _one_at_a_time = self.making.lock().await;
        if let Some(text) = self.last.lock().get(&of) {
            return Ok(text.into());
        }
        let no_room = |bytes| move |error| Unmade::NoRoom { bytes, error };
        let room = room.map_or_else(|| view.room_now(bytes), Ok).map_err(no_room(bytes))?;
        let by = view.clone();
        let written = offload_if_large(bytes, async move {
            let text = make();
            let bytes = text.len();
            by.counted_in(room, text).map_err(no_room(bytes))
        });
        let text = written.await.map_err(Unmade::Broken)??;
        Ok(self.get_or(&of, || Ok(text))?.into())
    }

    /// Yields the body that shows these values and is being taken, or shares this one.
    pub(crate) fn get_or<E>(
        &self,
        of: &Weak<Values>,
        counted: impl FnOnce() -> Result<Counted, E>,
    ) -> Result<Counted, E> {
        let mut last = self.last.lock();
        if let Some(text) = last.get(of) {
            return Ok(text);
        }
        let text = counted()?;
        *last = Shared { of: Weak::clone(of), text: text.downgrade() };
        self.is_shared.notify_waiters();
        Ok(text)
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
    /// Waits for the end of a run for a client, then for room until the patience is over, and
    /// yields the final body. The guard of the answer holds the client's policy; this wait has
    /// none.
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
        if let Located::Kept(found) = &located {
            found.run.ended().await;
        }
        let tracked = located.tracked();
        let (thread, run) = (tracked.about.thread, tracked.id.as_uuid());
        let is_shared = Arc::clone(&tracked.body.is_shared);
        let is_foreign = matches!(&located, Located::Kept(Found { thread: None, .. }));
        let (until, mut located, mut room) = (Instant::now() + patience, located, None);
        loop {
            let mut shared = pin!(is_shared.notified());
            // From here on none is missed.
            shared.as_mut().enable();
            let body = match located {
                Located::Kept(found) => self.body_of(view, found, joins, room).await,
                Located::Deleted(deleted) => {
                    let bytes = deleted.body.len();
                    deleted.body(view, room).map_err(|error| Unmade::NoRoom { bytes, error })
                }
            };
            let (bytes, error) = match body {
                Ok(body) => return Ok(body),
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
        room: Option<Charge>,
    ) -> Result<Bytes, Unmade> {
        let (report, tracked) = (found.run.report(), Arc::clone(&found.tracked));
        let (mut fold, mut values) = (Fold::default(), None);
        if let Some(thread) = &found.thread {
            fold = thread.look(self.engine(), &tracked, &found.run);
            let of_thread = thread.values(self.engine());
            values = (joins || fold.current().is_none()).then_some(of_thread).flatten();
        }
        let shown = values.as_ref().or(fold.current()).map(Arc::clone);
        let bytes = match &shown {
            // It is short, or charged when it is made.
            _ if self.error_of(&report, &tracked).is_some() => 0,
            Some(values) => bytes_of(values),
            None => report.output.as_ref().map_or(0, Payload::bytes_max),
        };
        let app = self.clone();
        let make = move || app.final_text(&report, &tracked, &fold, values.as_ref());
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

/// Yields what values take as text, about: characters of keys are rarely escaped.
fn bytes_of(values: &Values) -> usize {
    // Each with two quotes, a colon, and a comma or a brace.
    1 + values.iter().map(|(key, value)| key.len() + 4 + value.bytes_max()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use quell::Engine;
    use quell_flow::Catalog;
    use quell_http::{Principal, Service, ServiceLimits};

    use super::*;

    #[tokio::test]
    async fn no_body_is_made_before_there_is_room_for_it() {
        let mut limits = ServiceLimits::default();
        limits.requests_bytes_max = 1_000_000;
        let service = Service::new(Engine::new(), Catalog::new()).limits(limits);
        let view = service.view(crate::options::CONTRACT, Principal::anonymous());
        let values = Values::from([("text".to_owned(), "x".repeat(200_000).into())]);
        let text = serde_json::to_string(&values).unwrap();
        assert_eq!(bytes_of(&values), text.len());
        let (body, values) = (FinalBody::default(), Arc::new(values));
        let made = Arc::new(AtomicUsize::new(0));
        let get = |room| {
            let (made, text, bytes) = (Arc::clone(&made), text.clone(), bytes_of(&values));
            let write = move || {
                made.fetch_add(1, Ordering::Relaxed);
                text
            };
            body.get(&view, Some(&values), bytes, room, write)
        };
        let held = view.room_now(900_000).unwrap();
        let refused = get(None).await;
        assert!(matches!(refused, Err(Unmade::NoRoom { bytes, .. }) if bytes >= text.len()));
        assert_eq!(made.load(Ordering::Relaxed), 0);
        drop(held);
        let Ok(taken) = get(None).await else { unreachable!("there is room") };
        assert_eq!((taken.len(), made.load(Ordering::Relaxed)), (text.len(), 1));
        assert!(view.room_now(1_000_000 - text.len()).is_ok(), "no more is charged than it takes");
        assert!(view.room_now(1_000_001 - text.len()).is_err());
    }
}
