//! Members of a cluster in one database, and engines on them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quell::{CancelRequest, Engine, EngineConfig, Failure, RunContext, RunRef, RunSpec, RunStatus};
use quell_core::cluster::{ActAnswer, Answer, Asked, Cluster as _};
use quell_core::store::{Accepted, Epoch, Record, RunRecord, Store, StoreError};
use quell_core::{Disposition, Payload, RunId, RunKind};
use quell_postgres::{PostgresNode, PostgresOptions};
use quell_test_support::soon;

use crate::fixture::Place;

/// A lease that no test outlives.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// Tells whether the long forms of tests are asked for.
pub(crate) fn is_long() -> bool {
    std::env::var("QUELL_LONG").is_ok_and(|long| long == "1")
}

pub(crate) fn options(place: &Place<'_>, name: &str, lease: Duration) -> PostgresOptions {
    let mut options = place.options();
    (options.node, options.lease) = (Some(name.into()), lease);
    options
}

pub(crate) async fn join(place: &Place<'_>, name: &str) -> Arc<PostgresNode> {
    Arc::new(PostgresNode::open(options(place, name, LONG)).await.unwrap())
}

pub(crate) fn engine(node: &Arc<PostgresNode>) -> Engine {
    let config = EngineConfig::new().node(Arc::clone(node));
    Engine::with_config(config)
}

/// Ends the lease of a member as time would.
pub(crate) fn expire(place: &Place<'_>, name: &str) {
    let over = "lease_until = now() - interval '1 s'";
    place.sql(&format!("update node set {over} where name = '{name}'"));
}

pub(crate) async fn live(engine: &Engine, name: &str) -> RunRef {
    let run = engine.submit_durably(RunSpec::agent(name), listener).await.unwrap().into_ref();
    soon("it runs", || run.status() == RunStatus::Running).await;
    run.stored().await.unwrap();
    run
}

/// Ends when it is asked to.
pub(crate) async fn listener(ctx: RunContext) -> Result<(), Failure> {
    ctx.stopped().await;
    Ok(())
}

pub(crate) fn stop(by: &str) -> CancelRequest {
    CancelRequest::because("enough").by(by)
}

/// A run that a member has accepted and started, of which no engine knows.
pub(crate) async fn bare(node: &PostgresNode, run: RunId) -> Result<Epoch, StoreError> {
    let (epoch, at) = (Epoch::new(node.boot(), 1), SystemTime::now());
    let accepted = Accepted::new(run, RunKind::Agent, "bare".into(), epoch, at);
    let records = vec![Record::Accepted(accepted.into()), Record::Started { run, epoch, at }];
    node.append(records).await.map(|()| epoch)
}

pub(crate) async fn read(node: &impl Store, run: RunId) -> RunRecord {
    node.get(run).await.unwrap().unwrap()
}

pub(crate) fn on_threads<T>(future: impl Future<Output = T>) -> T {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Has a member ask another one for a stop and for an act of its run, who answers both.
pub(crate) async fn asked_and_answered(owner: &PostgresNode, by: &PostgresNode, run: RunId) {
    let answers = async {
        let asked = owner.inbox(Vec::new()).await.unwrap().remove(0);
        let Asked::Stop(stop) = asked else { panic!("{asked:?}") };
        owner.answer(stop.nr, Answer::Stop(Disposition::Unknown)).await.unwrap();
    };
    let (asked, ()) = futures::join!(by.ask(run.into(), stop("ada")), answers);
    assert_eq!(asked, Ok(Disposition::Unknown));
    let acts = async {
        let asked = owner.inbox(Vec::new()).await.unwrap().remove(0);
        let Asked::Act { nr, words, .. } = asked else { panic!("{asked:?}") };
        assert_eq!(owner.take(nr).await, Ok(true));
        owner.answer(nr, Answer::Act(words)).await.unwrap();
    };
    let (said, ()) = futures::join!(by.act(run.into(), Payload::from("words")), acts);
    assert_eq!(said, Ok(ActAnswer::Said(Payload::from("words"))));
    assert_eq!(by.owner(run).await.unwrap().as_deref(), Some(owner.name()));
}
