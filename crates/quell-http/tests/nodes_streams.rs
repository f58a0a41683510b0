//! Streams of runs that another node has.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::{FutureExt, StreamExt};
use quell::testing::cluster::{Nodes, Trouble};
use quell::{
    CancelRequest, CauseKind, EngineConfig, EventKind, OnBusy, RunContext, RunEvent, RunSpec,
    RunStatus, Shutdown,
};
use quell_http::{NATIVE, OnDisconnect, Principal, RunView, Service, ServiceLimits, View};
use quell_test_support::{Counted, Witness, ms, secs, within};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::nodes::{Process, taken_over, two};
use crate::support::{get, post, send, service_with, start};

/// Joins with a store whose reads are counted.
fn counted(nodes: &Nodes) -> (Arc<Counted>, Service) {
    let node = nodes.join("counted");
    let store = Counted::of(Arc::clone(&node) as _);
    let config = EngineConfig::new().store(Arc::clone(&store) as _).cluster(node);
    (store, service_with(config.control_on_runtime(), &Witness::default()))
}

fn view(service: &Service) -> View {
    service.view(NATIVE, Principal::anonymous())
}

async fn events(of: &View, id: &str, after: u64) -> Vec<RunEvent> {
    let run = of.find(id).await.unwrap().unwrap();
    assert!(run.live().is_none());
    within("it ends", of.events(&run, after).await.unwrap().collect()).await
}

#[tokio::test(start_paused = true)]
async fn a_stream_through_another_node_is_the_one_of_the_owner_from_every_event_on() {
    let (_nodes, a, b) = two();
    start(&a.app, "talker", "r", json!(200)).await;
    let run = a.run("r");
    run.accepted().await.unwrap();
    let whole = get(&b.app, "/v1/runs/r/events");
    let own = get(&a.app, "/v1/runs/r/events");
    let parts = async {
        let mut parts = Vec::new();
        for after in [0, 1, 7, 40, 90] {
            parts.push((after, events(&b.view(), "r", after).await));
        }
        parts
    };
    let (whole, own, parts) = tokio::join!(whole, own, parts);
    assert_eq!((whole.status, &whole.text), (StatusCode::OK, &own.text));
    assert!(own.text.matches("event: ").count() > 200);
    run.stored().await.unwrap();
    let all = events(&b.view(), "r", 0).await;
    for (after, part) in parts {
        assert!(all.ends_with(&part) && part[0].seq == after + 1, "after {after}");
    }
    let header = [("last-event-id", "150")];
    let rest = send(&b.app, "GET", "/v1/runs/r/events", &header, "").await;
    let after = get(&a.app, "/v1/runs/r/events?after=150").await;
    assert_eq!(rest.text, after.text);
}

#[tokio::test(start_paused = true)]
async fn a_stream_follows_what_happens_and_ends_with_the_run() {
    let (_nodes, a, b) = two();
    let run = a.working("steps", "r").await;
    let found = b.found("r").await;
    let view = b.view();
    let mut stream = Box::pin(view.events(&found, 0).await.unwrap());
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.push(within("it is there", stream.next()).await.unwrap());
    }
    tokio::time::sleep(secs(60)).await;
    assert_eq!(stream.next().now_or_never(), None, "nothing happens");
    let began = tokio::time::Instant::now();
    run.cancel(CancelRequest::because("enough"));
    let rest: Vec<_> = within("it ends", stream.collect()).await;
    assert!(began.elapsed() < ms(600), "{:?}", began.elapsed());
    let last = rest.last().unwrap();
    assert_eq!((last.run, &last.kind), (run.id(), &EventKind::Ended(RunStatus::Cancelled)));
    let seqs: Vec<_> = seen.iter().chain(&rest).map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=last.seq).collect::<Vec<_>>());
    // Of a run below it, what is of that.
    let step = seen.iter().find(|event| event.run != run.id()).unwrap().run;
    let below = events(&b.view(), &step.to_string(), 0).await;
    assert!(below.iter().all(|event| event.run == step));
    assert_eq!(below.last().unwrap().kind, EventKind::Ended(RunStatus::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_of_a_later_run_of_the_id_to_who_reads_an_earlier_one() {
    let (_nodes, a, b) = two();
    let (run, view) = (a.working("sleeper", "r").await, b.view());
    let found = b.found("r").await;
    let mut stream = Box::pin(view.events(&found, 0).await.unwrap());
    let mut own = vec![within("it is there", stream.next()).await.unwrap()];
    // Nobody reads while this happens.
    run.cancel(CancelRequest::because("enough"));
    within("it ends", run.quiescent()).await;
    run.stored().await.unwrap();
    own.extend(within("all is there", stream.by_ref().take(2).collect::<Vec<_>>()).await);
    let at = run.row().queued_at;
    a.service.engine().forget(run.id()).unwrap();
    let gone = || async { b.service.engine().stored_run(run.id()).await.unwrap().is_none() };
    within("it is gone", async {
        while !gone().await {
            tokio::time::sleep(ms(1)).await;
        }
    })
    .await;
    tokio::time::sleep(secs(1)).await;
    let later = a.working("steps", "r").await;
    later.events_stored().await.unwrap();
    assert_ne!(later.row().queued_at, at);
    let told: Vec<_> = within("the stream ends", stream.collect()).await;
    let names = own.iter().chain(&told).filter(|event| event.at > at + secs(1));
    assert_eq!(names.count(), 0, "{told:?}");
    let reading = b.view().read_tree(found).await.unwrap();
    assert!(reading.tree_transcripts().iter().all(|said| said.text.is_empty()), "{reading:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_with_the_next_owner_without_a_gap_or_a_repeat() {
    for by_who_reads in [false, true] {
        let (nodes, a, b) = two();
        let c = Process::join(&nodes, "c");
        a.working("sleeper", "r").await;
        let (view, found) = (b.view(), b.found("r").await);
        let mut stream = Box::pin(view.events(&found, 0).await.unwrap());
        let mut seen = vec![within("it is there", stream.next()).await.unwrap()];
        let reading = tokio::spawn(async move {
            while let Some(event) = stream.next().await {
                seen.push(event);
            }
            seen
        });
        let next = if by_who_reads { &b } else { &c };
        taken_over(&a, next).await;
        next.run("r").cancel(CancelRequest::because("enough"));
        let seen = within("it ends", reading).await.unwrap();
        let last = seen.last().unwrap();
        assert_eq!(last.kind, EventKind::Ended(RunStatus::Cancelled));
        let seqs: Vec<_> = seen.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=last.seq).collect::<Vec<_>>(), "{seen:?}");
        let starts = seen.iter().filter(|event| event.kind == EventKind::Started).count();
        assert_eq!(starts, 2, "on both nodes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_reads_no_more_and_one_at_rest_reads_seldom() {
    let (nodes, a, _b) = two();
    let (store, service) = counted(&nodes);
    a.working("sleeper", "r").await;
    let view = view(&service);
    let found = view.find("r").await.unwrap().unwrap();
    let mut stream = Box::pin(view.events(&found, 0).await.unwrap());
    let reading = tokio::spawn(async move { while stream.next().await.is_some() {} });
    tokio::time::sleep(secs(10)).await;
    let before = store.reads();
    tokio::time::sleep(secs(100)).await;
    let each = store.reads() - before;
    assert!((195..=205).contains(&each), "{each} in 100 s");
    reading.abort();
    drop(reading.await);
    let before = store.reads();
    tokio::time::sleep(secs(100)).await;
    assert_eq!(store.reads(), before);
    // So it is of a wait that is dropped.
    let mut wait = Box::pin(match &found {
        RunView::Stored(run) => view.ended_or_paused(run),
        RunView::Live(_) => panic!("another node has it"),
    });
    assert!(tokio::time::timeout(secs(100), &mut wait).await.is_err());
    let each = store.reads() - before;
    assert!((390..=405).contains(&each), "{each} in 100 s");
    drop(wait);
    let before = store.reads();
    tokio::time::sleep(secs(100)).await;
    assert_eq!(store.reads(), before);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_told_of_what_is_new_and_does_not_wait_for_its_next_look() {
    let (_nodes, a, b) = two();
    let body = async |ctx: RunContext| {
        for nth in 0..8 {
            // Nothing was new for so long that the stream looks once a second.
            tokio::time::sleep(ms(4_321 + 100 * nth)).await;
            ctx.emit(nth);
        }
        Ok(())
    };
    let run = a.service.engine().submit_durably(RunSpec::agent("r"), body).await.unwrap();
    let began = tokio::time::Instant::now();
    let (view, id) = (b.view(), run.id().to_string());
    let found = view.find(&id).await.unwrap().unwrap();
    let mut stream = Box::pin(view.events(&found, 0).await.unwrap());
    let (mut seen, mut at) = (0, 0);
    while let Some(event) = within("it goes on", stream.next()).await {
        if let EventKind::Emitted(_) = event.kind {
            at += 4_321 + 100 * seen;
            let late = began.elapsed().as_millis() - at;
            assert!(late < 50, "{seen} is {late} ms late");
            seen += 1;
        }
    }
    assert_eq!(seen, 8);
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlives_trouble_of_the_store_and_ends_with_a_run_that_is_forgotten() {
    let (_nodes, a, b) = two();
    let run = a.working("sleeper", "r").await;
    let (view, found) = (b.view(), b.found("r").await);
    let mut stream = Box::pin(view.events(&found, 0).await.unwrap());
    while stream.next().now_or_never().flatten().is_some() {}
    b.node.trouble(Trouble::All);
    assert!(tokio::time::timeout(secs(5), stream.next()).await.is_err(), "it waits");
    b.node.trouble(Trouble::None);
    run.cancel(CancelRequest::because("enough").rollback());
    // Its log goes with it: the stream may see the end of it, or that it is gone.
    let rest: Vec<_> = within("it ends", stream.collect()).await;
    assert!(rest.iter().all(|event| event.run == run.id()));
    assert!(b.view().find("r").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_engine_that_serves_it() {
    let (_nodes, a, b) = two();
    a.working("sleeper", "r").await;
    let (view, found) = (b.view(), b.found("r").await);
    let stream = view.events(&found, 0).await.unwrap();
    let reading = tokio::spawn(stream.collect::<Vec<_>>());
    tokio::time::sleep(secs(1)).await;
    assert!(!reading.is_finished());
    b.service.engine().shutdown(Shutdown::default()).await;
    let seen = within("it ends", reading).await.unwrap();
    assert_eq!(seen.last().unwrap().kind, EventKind::Started);
    assert_eq!(a.witness.inside(), 1, "it goes on where it is");
}

/// Clients take an end for that of the run, and come back where a stream is cut.
#[tokio::test(start_paused = true)]
async fn a_stream_that_its_server_leaves_before_its_run_ends_is_cut() {
    let (_nodes, a, b) = two();
    let run = a.working("steps", "r").await;
    let request = Request::get("/v1/runs/r/events").body(Body::empty()).unwrap();
    let mut told = b.app.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    within("it begins", told.next()).await.unwrap().unwrap();
    b.service.drain();
    b.service.engine().shutdown(Shutdown::default()).await;
    let last = async {
        loop {
            match told.next().await {
                Some(Ok(_)) => {}
                rest => return rest,
            }
        }
    };
    assert!(matches!(within("nothing more is told", last).await, Some(Err(_))));
    assert!(!run.status().is_terminal());
}

#[tokio::test(start_paused = true)]
async fn streams_of_other_nodes_are_bounded_as_all_are() {
    let (_nodes, a, b) = two();
    a.working("sleeper", "r").await;
    let mut limits = ServiceLimits::default();
    limits.streams_max = 0;
    let app = quell_http::router(b.service.clone().limits(limits));
    let refused = get(&app, "/v1/runs/r/events").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["type"], "urn:quell:problem:too-many-streams");
}

#[tokio::test(start_paused = true)]
async fn i31_the_last_client_that_leaves_stops_a_run_of_another_node_if_it_asked_for_that() {
    let (_nodes, a, b) = two();
    for (policy, id) in [(OnDisconnect::Cancel, "r"), (OnDisconnect::Continue, "s")] {
        let run = a.working("sleeper", id).await;
        let found = b.found(id).await;
        let guards = [0, 1].map(|_| b.service.guard(&found, policy));
        let [first, last] = guards;
        drop(first);
        tokio::time::sleep(secs(2)).await;
        assert_eq!(run.status(), RunStatus::Running, "one still follows");
        drop(last);
        tokio::time::sleep(secs(2)).await;
        if policy == OnDisconnect::Cancel {
            assert_eq!(run.row().cause.unwrap().kind, CauseKind::Disconnected);
            assert_eq!((run.status(), a.witness.inside()), (RunStatus::Cancelled, 0));
        } else {
            assert_eq!(a.witness.inside(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_has_the_runs_of_all_nodes_as_they_stand() {
    let (_nodes, a, b) = two();
    a.working("sleeper", "far").await;
    b.working("sleeper", "near").await;
    for (node, query) in [(&a, "?status=running"), (&b, "?status=running"), (&b, "?kind=agent")] {
        let list = get(&node.app, &format!("/v1/runs{query}")).await.json();
        let ids: Vec<_> = list["runs"].as_array().unwrap().iter().map(|run| &run["id"]).collect();
        assert!(ids.len() == 2 && ids.contains(&&json!("far")) && ids.contains(&&json!("near")));
    }
    let answer = post(&b.app, "/v1/runs/far/cancel", &json!({ "wait": "terminal" })).await;
    assert_eq!((answer.status, a.witness.inside()), (StatusCode::OK, 0));
    let list = get(&b.app, "/v1/runs?status=running").await.json();
    assert_eq!(list["runs"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["runs"][0]["id"], Value::from("near"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_run_that_says_nothing_begins_and_ends_with_it() {
    let (_nodes, a, b) = two();
    let (waits, ends) = (ms(700), ms(7_654));
    let first = async |_ctx: RunContext| {
        tokio::time::sleep(secs(5)).await;
        Ok(())
    };
    let in_lane = |spec: RunSpec| spec.lane("one", OnBusy::Enqueue);
    let engine = a.service.engine();
    let before = engine.submit_durably(in_lane(RunSpec::agent("first")), first).await.unwrap();
    let body = async move |_ctx: RunContext| {
        tokio::time::sleep(ends).await;
        Ok(())
    };
    let run = engine.submit_durably(in_lane(RunSpec::agent("r")), body).await.unwrap().into_ref();
    let view = b.view();
    let found = view.find(&run.id().to_string()).await.unwrap().unwrap();
    let mut stream = Box::pin(view.events(&found, 0).await.unwrap());
    let queued = within("it is queued", stream.next()).await.unwrap();
    assert_eq!((queued.seq, queued.at), (1, run.queued_at()));
    tokio::time::sleep(waits).await;
    assert_eq!(stream.next().now_or_never(), None, "it waits for its lane");
    before.run().ended().await;
    let began = tokio::time::Instant::now();
    let started = within("it starts", stream.next()).await.unwrap();
    assert_eq!((started.seq, &started.kind), (2, &EventKind::Started));
    assert!(began.elapsed() < ms(100), "{:?}", began.elapsed());
    let ended = within("it ends", stream.next()).await.unwrap();
    assert_eq!((ended.seq, &ended.kind), (3, &EventKind::Ended(RunStatus::Completed)));
    assert!(began.elapsed() < ends + ms(100), "{:?}", began.elapsed());
    assert_eq!(stream.next().await, None);
    // One that says something after all goes on behind its beginning.
    let body = async |ctx: RunContext| {
        tokio::time::sleep(secs(5)).await;
        ctx.emit("hi");
        Ok(())
    };
    let run = engine.submit_durably(RunSpec::agent("late"), body).await.unwrap().into_ref();
    let all = events(&view, &run.id().to_string(), 0).await;
    assert!(all.iter().map(|event| event.seq).eq(1..=4), "{all:?}");
    assert_eq!(events(&view, &run.id().to_string(), 1).await, all[1..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_through_another_node_sees_the_end_of_a_run_that_is_deleted_at_once() {
    for round in 0..5 {
        let (_nodes, a, b) = two();
        start(&a.app, "talker", "t", json!(800)).await;
        let run = a.run("t");
        run.stored().await.unwrap();
        let found = b.found("t").await;
        let view = b.view();
        let waits = tokio::spawn(async move {
            let RunView::Stored(stored) = &found else { panic!("it is of another node") };
            view.ended_or_paused(stored).await
        });
        run.ended().await;
        assert_eq!(send(&a.app, "DELETE", "/v1/runs/t", &[], "").await.status, 204);
        let seen = within("it is told", waits).await.unwrap().unwrap();
        let status = seen.map(|run| run.status());
        assert_eq!(status, Some(RunStatus::Completed), "{round}");
    }
}
