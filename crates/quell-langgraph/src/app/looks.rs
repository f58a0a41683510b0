//! A run starts on all that those before it have left, also if that was not known when they ended.

use std::sync::Arc;

use quell::store::MemoryStore;
use quell::{CancelRequest, Engine, EngineConfig, Payload, RunContext, RunRef, RunSpec};
use quell_flow::Catalog;
use quell_http::Service;
use quell_test_support::soon;
use uuid::Uuid;

use crate::app::App;
use crate::options::Options;
use crate::threads::{Thread, Tracked, within};
use crate::wire::exact::Keys;

#[tokio::test]
async fn a_run_starts_behind_one_that_has_ended_before_it_was_known_on_what_it_has_started() {
    let engine = Engine::with_config(EngineConfig::new().store(Arc::new(MemoryStore::new())));
    let app = App::new(Service::new(engine, Catalog::new()), Options::default());
    let thread = Arc::new(Thread::new(Uuid::now_v7(), None, &Keys::new(), false));
    let input = |text: &str| Payload::from_json_text(text).unwrap();
    let body = async |ctx: RunContext| {
        ctx.stopped().await;
        Ok(())
    };
    let enter = |run: &RunRef| {
        let tracked = Tracked::of(&run.into(), within(thread.id)).behind_others();
        let tracked = Arc::new(tracked);
        tracked.begin(run);
        assert!(thread.add(&tracked));
        tracked
    };
    let spec = RunSpec::agent("r").input(input(r#"{"before":1}"#));
    let before = app.engine().submit(spec, async |_ctx| Ok(())).unwrap().into_ref();
    before.quiescent().await;
    enter(&before);
    let spec = RunSpec::agent("r").input(input(r#"{"own":2}"#));
    let run = app.engine().submit(spec, body).unwrap().into_ref();
    soon("it has started", || run.row().started_at.is_some()).await;
    let tracked = enter(&run);
    app.know_base(&thread, &tracked, &run).await;
    let ground = thread.starts(app.engine(), &tracked, &run);
    assert!(ground.values.is_some_and(|values| values.contains_key("before")));
    drop(run.cancel(CancelRequest::because("it is over")));
}
