//! An engine on such a store.

use std::sync::Arc;

use quell::{CancelRequest, Engine, EngineConfig, Recovery, RunSpec, RunStatus, Shutdown};
use quell_core::store::Store;
use quell_postgres::PostgresStore;

use crate::fixture::Place;

#[test]
fn what_an_engine_has_said_is_stored_although_its_sessions_were_killed() {
    let place = Place::shared();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(place.open().await.unwrap());
        let kept: Arc<dyn Store> = Arc::<PostgresStore>::clone(&store);
        let engine = Engine::with_config(EngineConfig::new().store(kept));
        engine.recover(|_| Recovery::Fail).await.unwrap();
        let mut runs = Vec::new();
        for nth in 0..60 {
            let ends = nth % 2 == 0;
            let body = async move |ctx: quell::RunContext| {
                ctx.emit(nth);
                if !ends {
                    ctx.stopped().await;
                }
                Ok(nth)
            };
            let handle = engine.submit_durably(RunSpec::agent("a run"), body).await.unwrap();
            if nth % 3 == 0 {
                place.kill();
            }
            let run = handle.run().clone();
            // Events are stored from when somebody reads them.
            let _reader = run.events();
            if !ends {
                let cancel = CancelRequest::because("enough");
                run.cancel_durably(cancel).await.1.unwrap();
            }
            let _ = handle.await;
            runs.push((run.id(), ends));
        }
        let report = engine.shutdown(Shutdown::default()).await;
        assert_eq!(report.unstored, 0);
        drop(engine);
        store.close().await.unwrap();
        let later = place.open().await.unwrap();
        for (run, ends) in runs {
            let read = later.get(run).await.unwrap().unwrap();
            let expected = if ends { RunStatus::Completed } else { RunStatus::Cancelled };
            assert_eq!(read.status, expected);
            assert!(read.report.is_some() && read.stop.is_some() != ends, "{read:?}");
            let events = later.events(run, 0, 99).await.unwrap();
            let numbers: Vec<_> = events.iter().map(|event| event.as_ref().unwrap().seq).collect();
            assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
            assert!(numbers.len() > 2, "{events:?}");
        }
        later.close().await.unwrap();
    });
}
