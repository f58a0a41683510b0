//! [`FinalBody`]: the final body of a run (contract, section 7), made once for all clients that
//! take it at the same time.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use quell_http::{BodyError, Charge, Counted, Overdrawn, View, WeakCounted, offload_if_large};
use tokio::sync::Notify;

use crate::values::Values;

/// The final body that was made last of a run, for as long as a client takes it.
#[derive(Debug, Default)]
pub(crate) struct FinalBody {
    /// Held while it is made: all clients that wait for the run ask at its end.
    making: tokio::sync::Mutex<()>,
    last: Mutex<Shared>,
    /// Wakes clients that wait for room when there is a body to share, which needs none.
    pub(crate) is_shared: Arc<Notify>,
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
    pub(crate) async fn get(
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
pub(crate) enum Unmade {
    /// There is no room for so many bytes.
    NoRoom {
        bytes: usize,
        error: Overdrawn,
    },
    Broken(BodyError),
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use quell::Engine;
    use quell_flow::Catalog;
    use quell_http::{Principal, Service, ServiceLimits};

    use super::*;
    use crate::values::bytes_of;

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
