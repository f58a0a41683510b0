//! [`once`]: the idempotency keys of requests that make runs, and [`App::made_before`]: the run of
//! a repeat.

use std::sync::Arc;

use axum::http::HeaderMap;
use futures::FutureExt as _;
use quell::{IdempotencyKey, RunId};
use quell_http::{DisconnectGuard, OnDisconnect, StartError, View, idempotency_key};
use uuid::Uuid;

use crate::app::App;
use crate::app::create::Created;
use crate::threads::Thread;
use crate::wire::asked::Asked;
use crate::wire::refusal::Refusal;

/// Yields the key of a run of a batch: none that a client can send, and short enough whatever key
/// the batch has.
fn of_batch(key: &str, nth: usize) -> String {
    let digest = IdempotencyKey::new("batch", [key.as_bytes()]).payload();
    let bytes = digest.first_chunk().copied().unwrap_or_default();
    format!("batch\n{}\n{nth}", Uuid::from_bytes(bytes))
}

impl App {
    /// Tells whether the store has a key of a caller.
    pub(crate) async fn is_key_kept(
        &self,
        view: &View,
        once: Option<&IdempotencyKey>,
    ) -> Result<bool, Refusal> {
        let owner = view.principal().owner();
        let refusal = self.engine().refusal_of_store(None, owner, once).await;
        Ok(refusal.map_err(|_| StartError::NotStored)?.is_some())
    }

    /// Tells whether a thread is gone by now, but perhaps for a run.
    async fn is_gone_but_for(&self, thread: &Thread, run: RunId) -> Result<bool, Refusal> {
        let recorded = self.recorded(thread.id).await?;
        self.is_gone(thread, recorded.as_ref(), Some(run)).await
    }

    /// Yields the guard of a client that repeats a request whose run is there: it follows that
    /// already, whenever its turn comes. Of a run that the store has not taken yet the first client
    /// is not counted either: whoever has waited for their turn is, before that one has gone.
    pub(super) fn follows_already(
        &self,
        owner: &View,
        once: Option<&IdempotencyKey>,
        policy: OnDisconnect,
    ) -> Option<DisconnectGuard> {
        let run = self.engine().get(owner.started_by(once?)?)?;
        let is_accepted = run.accepted().now_or_never().is_some_and(|accepted| accepted.is_ok());
        is_accepted.then(|| self.service().guard(&run, policy).until_pause())
    }

    /// Finds the run that the same request has made before, which is only in the store.
    async fn made_there(
        &self,
        view: &View,
        within: Option<&Arc<Thread>>,
        id: RunId,
    ) -> Result<Created, Refusal> {
        let found = self.find_to_join(view, None, id.as_uuid()).await?;
        let found = found.ok_or(StartError::KeyForgotten)?;
        if let Some(thread) = within {
            // That of an earlier thread of this id leaves with it, if it has not yet.
            let asked = Asked::of(&found.run);
            let is_of = asked.is_none_or(|asked| thread.is_of_record(asked.record_us));
            if !is_of || self.is_gone_but_for(thread, id).await? {
                return Err(StartError::KeyForgotten.into());
            }
        }
        Ok(Created::There(found))
    }

    /// Finds the run that the same request has made before, by what its owner is told of it; within
    /// its thread, if the request names one.
    pub(super) async fn made_before(
        &self,
        (view, owner, within): (&View, &View, Option<&Arc<Thread>>),
        once: Option<&IdempotencyKey>,
        told: Result<RunId, StartError>,
    ) -> Result<Created, Refusal> {
        let run = match told {
            Ok(run) => Some(run),
            Err(StartError::KeyForgotten) => once.and_then(|once| owner.started_by(once)),
            Err(StartError::StartedBefore(id)) => return self.made_there(view, within, id).await,
            Err(error) => return Err(error.into()),
        };
        let found = match run {
            Some(id) => self.find_now(view, None, id.as_uuid()).await?,
            None => None,
        };
        let found = found.map(|located| Created::Again(located.into_found()));
        found.ok_or_else(|| StartError::KeyForgotten.into())
    }
}

/// Yields the key of a request, or of one of the runs of a batch, if it has one.
///
/// # Errors
///
/// Fails if that is no key.
pub(crate) fn once(
    headers: &HeaderMap,
    (path, body): (&str, &[u8]),
    nth: Option<usize>,
) -> Result<Option<IdempotencyKey>, Refusal> {
    let key = idempotency_key(headers);
    let key = key.map_err(|error| Refusal::invalid(error.to_string()))?;
    let key = key.map(|key| match nth {
        Some(nth) => of_batch(key, nth),
        None => key.to_owned(),
    });
    Ok(key.map(|key| IdempotencyKey::new(key, [path.as_bytes(), body])))
}

#[cfg(test)]
mod tests {
    use quell::Payload;
    use quell_flow::{Catalog, Component};
    use quell_http::{SESSION, Start};
    use quell_test_support::within;
    use tokio::task::yield_now;

    use super::*;
    use crate::app::gone::tests::two_with;
    use crate::app::record::record_of;
    use crate::wire::exact::Keys;

    #[tokio::test]
    async fn a_repeat_is_not_answered_with_a_run_of_an_earlier_thread_of_the_id() {
        let graph = || Component::agent("r", async |_ctx, input: Payload| Ok(input));
        let [a, b] = two_with(&Catalog::new().with(graph()));
        let graph = Arc::new(graph());
        let any = a.all().start(Start::new(&graph, 1.into())).await.unwrap().run;
        let id = Uuid::now_v7();
        let new = || Thread::new(id, None, &Keys::new(), false);
        let earlier = a.make_thread(new(), true).await.unwrap().unwrap();
        // It is deleted, and made anew, before the run is there that was to be made in it.
        assert!(a.threads().remove_if_unused(&earlier));
        a.forget_number(id, 0);
        within("its record leaves", async {
            while b.is_stored(record_of(id, 0)).await.unwrap() {
                yield_now().await;
            }
        })
        .await;
        let thread = b.make_thread(new(), true).await.unwrap().unwrap();
        assert_ne!(thread.record(), earlier.record());
        for (of, is_found) in [(&earlier, false), (&thread, true)] {
            let asked = Asked { record_us: of.record(), ..Asked::elsewhere(&(&any).into(), "r") };
            let start = asked.write(Start::new(&graph, 1.into()), &1.into());
            let run = a.all().start(start.label(SESSION, id.to_string())).await.unwrap().run;
            run.quiescent().await;
            run.stored().await.unwrap();
            let found = b.made_there(&b.all(), Some(&thread), run.id()).await;
            assert_eq!(found.is_ok(), is_found);
        }
    }
}
