//! I38: what was on its way into a store of a root that this has refused is no loss, and nothing of
//! it is stored.

use std::sync::Arc;

use quell::store::{MemoryStore, Store};
use quell::{Engine, EngineConfig, RunId, RunSpec, Shutdown, SubmitError};

use crate::support::{Flow, Valve, durable, full, started, stop, within};

#[tokio::test]
async fn i38_a_run_that_a_store_in_trouble_refused_counts_as_unstored_only_until_it_is_back() {
    for trouble in [Flow::Failing(full()), Flow::Doubtful(full())] {
        let store = Valve::new(trouble.clone());
        let engine = durable(&store);
        // Whoever reads all events has it make a log before it is refused.
        let _reader = engine.events();
        let id = RunId::from_text("refused");
        let refused = engine.submit_durably(RunSpec::agent("new").id(id), async |_| Ok(())).await;
        assert_eq!(refused.unwrap_err(), SubmitError::NotStored(full()));
        store.set(Flow::Open);
        let report = within("down", engine.shutdown(Shutdown::default())).await;
        assert_eq!(report.unstored, 0, "{trouble:?}");
        assert_eq!(store.get(id).await, Ok(None));
    }
}

#[tokio::test(start_paused = true)]
async fn i38_of_a_run_that_a_store_in_trouble_refused_one_thing_is_not_known_while_it_is_away() {
    let store = Valve::new(Flow::Failing(full()));
    let config = EngineConfig::new().store(Arc::clone(&store) as Arc<dyn Store>);
    let engine = Engine::with_config(config.control_on_runtime());
    store.fail_reads(full());
    let _reader = engine.events();
    let refused = engine.submit_durably(RunSpec::agent("new"), async |_| Ok(())).await;
    assert_eq!(refused.unwrap_err(), SubmitError::NotStored(full()));
    let report = engine.shutdown(Shutdown::default()).await;
    assert_eq!(report.unstored, 1, "whether the store has it");
}

#[tokio::test]
async fn a_refused_run_leaves_no_event_in_the_log_of_the_one_that_has_its_id() {
    let store = Valve::new(Flow::Open);
    let known = durable(&store).submit_durably(RunSpec::agent("known"), async |_| Ok(())).await;
    let known = known.unwrap().into_ref();
    known.ended().await;
    known.stored().await.unwrap();
    let engine = durable(&store);
    let _reader = engine.events();
    let same = RunSpec::agent("same").id(known.id());
    let refused = engine.submit_durably(same, async |_| Ok(())).await.unwrap_err();
    assert_eq!(refused, SubmitError::IdInUse(known.id()));
    assert_eq!(within("down", engine.shutdown(Shutdown::default())).await.unstored, 0);
    assert_eq!(store.events(known.id(), 0, 9).await.unwrap(), []);
}

#[tokio::test]
async fn a_refused_run_that_was_stopped_meanwhile_leaves_the_one_that_has_its_id_as_it_is() {
    let memory = Arc::new(MemoryStore::new());
    let engine = durable(&Valve::reopened(&memory, 1));
    let known = started(&engine, RunSpec::agent("known")).await;
    let before = memory.get(known.id()).await.unwrap();
    for rolls_back in [false, true] {
        let store = Valve::reopened(&memory, 2);
        let later = durable(&store);
        store.set(Flow::Shut { stops: true });
        let same = RunSpec::agent("same").id(known.id());
        let run = later.submit(same, async |_| Ok(())).unwrap().into_ref();
        run.cancel(if rolls_back { stop().rollback() } else { stop() });
        within("it ends", run.ended()).await;
        store.set(Flow::Open);
        let refused = within("it is refused", run.accepted()).await;
        assert_eq!(refused, Err(SubmitError::IdInUse(known.id())));
        assert_eq!(within("down", later.shutdown(Shutdown::default())).await.unstored, 0);
        assert_eq!(memory.get(known.id()).await.unwrap(), before, "{rolls_back}");
    }
    drop(engine);
}

#[tokio::test]
async fn a_root_that_was_refused_in_trouble_leaves_the_run_that_has_its_id_as_it_is() {
    for is_stopped in [false, true] {
        let memory = Arc::new(MemoryStore::new());
        let engine = durable(&Valve::reopened(&memory, 1));
        let known = started(&engine, RunSpec::agent("known")).await;
        let before = memory.get(known.id()).await.unwrap();
        let store = Valve::reopened(&memory, 2);
        let later = durable(&store);
        store.set(Flow::Shut { stops: true });
        let same = RunSpec::agent("same").id(known.id());
        let same = later.submit(same, async |_| Ok(())).unwrap().into_ref();
        if is_stopped {
            same.cancel(stop().rollback());
        }
        store.set(Flow::Failing(full()));
        assert_eq!(same.accepted().await, Err(SubmitError::NotStored(full())));
        store.set(Flow::Open);
        let report = within("down", later.shutdown(Shutdown::default())).await;
        assert_eq!(report.unstored, 0, "stopped: {is_stopped}");
        assert_eq!(memory.get(known.id()).await.unwrap(), before, "stopped: {is_stopped}");
        drop(engine);
    }
}

#[tokio::test]
async fn a_root_that_was_stored_although_its_append_failed_is_taken_back_with_its_stop() {
    let store = Valve::new(Flow::Shut { stops: true });
    let engine = durable(&store);
    let run = engine.submit(RunSpec::agent("new"), async |_| Ok(())).unwrap().into_ref();
    run.cancel(stop());
    store.set(Flow::Doubtful(full()));
    assert_eq!(run.accepted().await, Err(SubmitError::NotStored(full())));
    store.set(Flow::Open);
    let report = within("down", engine.shutdown(Shutdown::default())).await;
    assert_eq!((report.unstored, store.get(run.id()).await), (0, Ok(None)));
}
