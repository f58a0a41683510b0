//! A root that its store refuses while it waits for a slot or a lane is answered at once, and keeps
//! no place: neither that of its own, nor that of its body.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quell::testing::cluster::Nodes;
use quell::testing::held;
use quell::{
    CancelRequest, Engine, EngineConfig, IdempotencyKey, OnBusy, RunLimits, RunSpec, RunStatus,
    Scope, SubmitError,
};

use crate::support::{Flow, Valve, full, listener, secs, started, within};

/// Counts the polls of bodies, each of which holds the count.
#[derive(Default)]
struct Bodies(Arc<AtomicUsize>);

impl Bodies {
    /// Submits a run that never starts, and yields why.
    async fn refused(&self, engine: &Engine, spec: RunSpec) -> SubmitError {
        let polls = Arc::clone(&self.0);
        let body = async move |_| {
            polls.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        let refused = within("it is refused", engine.submit_durably(spec, body)).await.unwrap_err();
        assert_eq!(self.0.load(Ordering::SeqCst), 0);
        assert_eq!(Arc::strong_count(&self.0), 1, "its body is dropped by then");
        refused
    }
}

fn one_at_a_time() -> EngineConfig {
    EngineConfig::new().limit(Scope::All, RunLimits::new().running_max(1).queued_max(1))
}

#[tokio::test]
async fn an_id_and_a_key_that_another_node_has_are_told_although_the_run_would_wait() {
    let nodes = Nodes::new(secs(15));
    let engine = |name, config: EngineConfig| Engine::with_config(config.node(nodes.join(name)));
    let (a, b) = (engine("a", EngineConfig::new()), engine("b", one_at_a_time()));
    let keyed = || RunSpec::agent("far").idempotency_key(IdempotencyKey::new("k", ["payload"]));
    let far = started(&a, keyed()).await;
    let busy = started(&b, RunSpec::agent("busy").lane("l", OnBusy::Enqueue)).await;
    let before = held(&b);
    let bodies = Bodies::default();
    for waits in [RunSpec::agent("waits"), RunSpec::agent("waits").lane("l", OnBusy::Enqueue)] {
        // More often than may wait: none of them keeps a place.
        for _ in 0..3 {
            let refused = bodies.refused(&b, waits.clone().id(far.id())).await;
            assert_eq!(refused, SubmitError::IdInUse(far.id()));
        }
    }
    for _ in 0..3 {
        let refused = bodies.refused(&b, keyed()).await;
        assert_eq!(refused, SubmitError::AlreadySubmitted(far.id()));
    }
    assert_eq!(held(&b), before);
    let next = b.submit_durably(RunSpec::agent("next"), async |_| Ok(())).await.unwrap();
    busy.cancel(CancelRequest::because("enough"));
    assert_eq!(within("it has its turn", next.run().ended()).await.status, RunStatus::Completed);
}

#[tokio::test]
async fn a_store_in_trouble_is_told_although_the_run_would_wait() {
    let store = Valve::new(Flow::Open);
    let engine = Engine::with_config(one_at_a_time().store(Arc::clone(&store) as _));
    let busy = started(&engine, RunSpec::agent("busy")).await;
    store.set(Flow::Failing(full()));
    let refused = Bodies::default().refused(&engine, RunSpec::agent("waits")).await;
    assert_eq!(refused, SubmitError::NotStored(full()));
    store.set(Flow::Open);
    let next = within("it stores again", async {
        loop {
            match engine.submit_durably(RunSpec::agent("next"), listener).await {
                Ok(next) => return next.into_ref(),
                Err(error) => assert_eq!(error, SubmitError::NotStored(full())),
            }
        }
    });
    let next = next.await;
    assert_eq!(next.status(), RunStatus::Queued);
    busy.cancel(CancelRequest::because("enough"));
    next.cancel(CancelRequest::because("enough"));
    within("it ends", next.ended()).await;
}
