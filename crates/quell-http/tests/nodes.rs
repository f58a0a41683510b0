//! Two services on two nodes of one store. What really runs is told by witnesses in the bodies.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use quell::store::RunRecord;
use quell::testing::cluster::{Node, Nodes, Trouble};
use quell::{
    CancelRequest, Disposition, EngineConfig, Failure, Recovery, RunContext, RunRef, RunSpec,
    RunStatus, Work,
};
use quell_http::{
    CancelOutcome, NATIVE, Principal, RunView, Service, ServiceLimits, View, Wait, parse_id, router,
};
use quell_test_support::{Gate, Witness, ms, secs, soon, within};
use serde_json::{Value, json};

use crate::support::{JSON, get, post, send, service_with, start};

/// A service on a node of its own.
pub(crate) struct Process {
    pub(crate) node: Arc<Node>,
    pub(crate) service: Service,
    pub(crate) app: Router,
    pub(crate) witness: Witness,
}

impl Process {
    pub(crate) fn join(nodes: &Nodes, name: &str) -> Self {
        let (node, witness) = (nodes.join(name), Witness::default());
        let config = EngineConfig::new().store(Arc::clone(&node) as _);
        let config = config.cluster(Arc::clone(&node) as _);
        let service = service_with(config.control_on_runtime(), &witness);
        Self { app: router(service.clone()), node, service, witness }
    }

    pub(crate) fn view(&self) -> View {
        self.service.view(NATIVE, Principal::anonymous())
    }

    pub(crate) fn run(&self, id: &str) -> RunRef {
        self.service.engine().get(parse_id(id).unwrap()).unwrap()
    }

    /// Starts a run that works, and whose work is stored.
    pub(crate) async fn working(&self, component: &str, id: &str) -> RunRef {
        let before = self.witness.entered();
        start(&self.app, component, id, Value::Null).await;
        let run = self.run(id);
        soon("it works", || self.witness.entered() > before || !run.children().is_empty()).await;
        run.stored().await.unwrap();
        run
    }

    /// As [`Process::working`], stopped: nothing of it executes, and all of it is stored.
    pub(crate) async fn stopped(&self, id: &str) -> RunRef {
        let run = self.working("sleeper", id).await;
        run.cancel(CancelRequest::because("enough"));
        run.quiescent().await;
        run.stored().await.unwrap();
        run
    }

    /// Finds a run that another one has.
    pub(crate) async fn found(&self, id: &str) -> RunView {
        let run = self.view().find(id).await.unwrap().unwrap();
        assert!(run.live().is_none());
        run
    }

    async fn cancel(&self, run: &RunView, wait: Wait) -> CancelOutcome {
        self.view().cancel(run, stop(), wait).await
    }
}

pub(crate) fn two() -> (Nodes, Process, Process) {
    let nodes = Nodes::new(secs(15));
    let (a, b) = (Process::join(&nodes, "a"), Process::join(&nodes, "b"));
    (nodes, a, b)
}

fn stop() -> CancelRequest {
    CancelRequest::because("enough").by("ada")
}

fn is_accepted(outcome: &CancelOutcome) -> bool {
    matches!(outcome.disposition, Disposition::Accepted { .. })
}

#[tokio::test(start_paused = true)]
async fn a_run_is_read_and_stopped_through_any_node_and_its_owner_decides() {
    let (_nodes, a, b) = two();
    for component in ["sleeper", "stubborn", "steps"] {
        a.working(component, component).await;
        let path = format!("/v1/runs/{component}");
        let run = get(&b.app, &path).await;
        assert_eq!((run.status, &run.json()["status"]), (StatusCode::OK, &json!("running")));
        let cancel = json!({ "reason": "enough", "wait": "quiescent" });
        let answer = post(&b.app, &format!("{path}/cancel"), &cancel).await;
        let told = answer.json();
        let expected = json!(["accepted", "cancelled", true, true, "user-request", "enough"]);
        let cause = &told["cause"];
        let said = [&told["disposition"], &told["status"], &told["reached"], &told["quiescent"]];
        let said = said.into_iter().chain([&cause["kind"], &cause["message"]]);
        assert_eq!(said.cloned().collect::<Value>(), expected, "{component}");
        assert_eq!(answer.header("quell-disposition"), "accepted");
        assert!(told["hard_deadline_in_ms"].is_u64());
        assert_eq!((answer.status, a.witness.inside()), (StatusCode::OK, 0), "{component}");
        let again = post(&b.app, &format!("{path}/cancel"), &cancel).await;
        assert_eq!(again.header("quell-disposition"), "already-terminal");
    }
    let none = post(&b.app, "/v1/runs/nobodys/cancel", &json!({})).await;
    assert_eq!((none.status, none.header("quell-disposition")), (StatusCode::NOT_FOUND, "unknown"));
}

#[tokio::test(start_paused = true)]
async fn a_step_of_a_run_of_another_node_is_stopped_by_its_own_id() {
    let (_nodes, a, b) = two();
    let run = a.working("steps", "flow").await;
    let step = run.children().remove(0);
    let told = b.cancel(&b.found(&step.id().to_string()).await, Wait::quiescent()).await;
    assert!(is_accepted(&told) && told.is_reached, "{told:?}");
    assert_eq!(step.status(), RunStatus::Cancelled);
    assert_eq!(told.row.unwrap().run, step.id());
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_a_silent_owner_has_not_decided_is_recorded_and_comes() {
    let (_nodes, a, b) = two();
    let run = a.working("sleeper", "r").await;
    a.node.trouble(Trouble::All);
    let cancel = json!({ "wait": "terminal", "wait_ms": 300 });
    let answer = post(&b.app, "/v1/runs/r/cancel", &cancel).await;
    assert_eq!(
        (answer.status, answer.header("quell-disposition")),
        (StatusCode::ACCEPTED, "recorded")
    );
    let told = answer.json();
    assert_eq!((&told["status"], &told["reached"]), (&json!("running"), &json!(false)));
    assert_eq!((a.witness.inside(), run.status()), (1, RunStatus::Running));
    // It may still complete: its status is its own, and the stop is told beside it.
    let told = get(&b.app, "/v1/runs/r").await.json();
    let cause = &told["cause"];
    assert_eq!((&told["status"], &cause["kind"]), (&json!("running"), &json!("user-request")));
    assert!(told["recorded_at"].is_string() && told["recorded_at"] == cause["at"], "{told}");
    a.node.trouble(Trouble::None);
    let told = b.cancel(&b.found("r").await, Wait::terminal()).await;
    assert!(told.is_reached, "{told:?}");
    assert_eq!((run.status(), a.witness.inside()), (RunStatus::Cancelled, 0));
    run.stored().await.unwrap();
    let told = get(&b.app, "/v1/runs/r").await.json();
    assert_eq!((&told["status"], &told["recorded_at"]), (&json!("cancelled"), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_cannot_be_asked_for_is_not_acknowledged() {
    let (_nodes, a, b) = two();
    a.working("sleeper", "r").await;
    let run = b.found("r").await;
    b.node.trouble(Trouble::All);
    let told = b.cancel(&run, Wait::terminal()).await;
    assert!(told.stored.is_err() && told.disposition == Disposition::Unknown, "{told:?}");
    let answer = post(&b.app, "/v1/runs/r/cancel", &json!({})).await;
    assert_eq!((answer.status, a.witness.inside()), (StatusCode::SERVICE_UNAVAILABLE, 1));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_has_ended_since_it_was_found_has_ended() {
    let (_nodes, a, b) = two();
    let run = a.working("sleeper", "r").await;
    let found = b.found("r").await;
    run.cancel(CancelRequest::because("before"));
    run.quiescent().await;
    run.stored().await.unwrap();
    let told = b.cancel(&found, Wait::quiescent()).await;
    let over = Disposition::AlreadyTerminal { status: RunStatus::Cancelled };
    assert_eq!((told.disposition, told.is_reached), (over, true));
    assert_eq!(told.cause.unwrap().message.as_deref(), Some("before"));
    // And one that was forgotten is nobody's.
    a.service.engine().forget(run.id()).unwrap();
    soon("it has left the store", || b.service.engine().get(run.id()).is_none()).await;
    while b.view().find("r").await.unwrap().is_some() {
        tokio::time::sleep(ms(1)).await;
    }
    let told = b.cancel(&found, Wait::none()).await;
    assert_eq!((told.disposition, told.stored), (Disposition::Unknown, Ok(())));
}

fn going_on(witness: &Witness) -> impl FnMut(&RunRecord) -> Recovery + Send + use<> {
    let witness = witness.clone();
    move |record| {
        let witness = witness.clone();
        Recovery::resume(RunSpec::agent(&*record.accepted.name), move |_ctx: RunContext| {
            let witness = witness.clone();
            async move {
                let _inside = witness.enter();
                std::future::pending::<Result<(), Failure>>().await
            }
        })
    }
}

/// Has a node lose what it has to another one, on which it goes on.
pub(crate) async fn taken_over(from: &Process, by: &Process) {
    let before = by.witness.entered();
    from.node.trouble(Trouble::All);
    loop {
        tokio::time::sleep(secs(1)).await;
        let decide = going_on(&by.witness);
        let taken = by.service.engine().take_over_held(decide).await.unwrap();
        if let Some((_, held)) = taken {
            assert_eq!(from.witness.inside(), 0, "it has stopped there before");
            held.start();
            break;
        }
    }
    soon("it goes on", || by.witness.entered() > before).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_taken_over_since_it_was_found_is_stopped_where_it_is() {
    for (nth, by_who_asks) in [true, false].into_iter().enumerate() {
        let (nodes, a, b) = two();
        let c = Process::join(&nodes, "c");
        a.working("sleeper", "r").await;
        let found = b.found("r").await;
        let next = if by_who_asks { &b } else { &c };
        taken_over(&a, next).await;
        assert_eq!(next.witness.inside(), 1);
        let told = b.cancel(&found, Wait::terminal()).await;
        assert!(is_accepted(&told) && told.is_reached, "{nth}: {told:?}");
        assert_eq!((next.witness.inside(), next.run("r").status()), (0, RunStatus::Cancelled));
        assert_eq!(told.row.unwrap().status, RunStatus::Cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_goes_on_where_the_run_has_come_to() {
    let (nodes, a, b) = two();
    a.working("sleeper", "r").await;
    let found = b.found("r").await;
    // Recorded, since its owner is cut off, and honoured by who takes over: the one that asked.
    a.node.trouble(Trouble::All);
    let waiting = tokio::spawn({
        let view = b.view();
        async move { view.cancel(&found, stop(), Wait::terminal()).await }
    });
    loop {
        tokio::time::sleep(secs(1)).await;
        let taken = b.service.engine().take_over(|_| Recovery::Fail).await.unwrap();
        if taken.is_some() {
            break;
        }
    }
    let told = waiting.await.unwrap();
    assert!(matches!(told.disposition, Disposition::Recorded { .. }), "{told:?}");
    let row = told.row.unwrap();
    assert_eq!((row.status, told.is_reached), (RunStatus::Cancelled, true));
    assert_eq!(row.cause.unwrap().by.as_deref(), Some("ada"));
    // It is not quiescent until somebody knows of that node: nobody waits for that.
    assert!(row.abandoned.iter().any(|work| work.what == Work::Node));
    let c = Process::join(&nodes, "c");
    let asked = c.found("r").await;
    let told = within("nobody tells", c.cancel(&asked, Wait::quiescent())).await;
    assert!(!told.is_reached && told.quiescent == Some(false), "{told:?}");
}

#[tokio::test]
async fn quiescence_is_waited_for_on_another_node_too() {
    let (_nodes, a, b) = two();
    let (gate, witness) = (Gate::new(), Witness::default());
    let _opened = gate.at_end();
    let (held, seen) = (gate.clone(), witness.clone());
    let spec = RunSpec::agent("blocks").grace(ms(1)).id(parse_id("r").unwrap());
    let run = a.service.engine().submit_durably(spec, async move |ctx: RunContext| {
        let work = ctx.spawn_blocking(move |_| {
            let _inside = seen.enter();
            held.spin();
        });
        Ok(work.await?)
    });
    let run = run.await.unwrap().into_ref();
    soon("it blocks", || witness.inside() == 1).await;
    let cancel = json!({ "mode": "abort", "wait": "quiescent", "wait_ms": 3_000 });
    let answer = post(&b.app, "/v1/runs/r/cancel", &cancel).await;
    let told = answer.json();
    assert_eq!((answer.status, &told["status"]), (StatusCode::ACCEPTED, &json!("cancelled")));
    assert_eq!((&told["quiescent"], witness.inside()), (&json!(false), 1));
    let found = b.found("r").await;
    let waiting = tokio::spawn({
        let view = b.view();
        async move { view.cancel(&found, stop(), Wait::quiescent()).await }
    });
    tokio::time::sleep(ms(50)).await;
    assert!(!waiting.is_finished());
    gate.open();
    let told = waiting.await.unwrap();
    assert_eq!((told.is_reached, told.quiescent, witness.inside()), (true, Some(true), 0));
    assert!(run.row().quiescent);
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_a_permit_looks_once() {
    let (_nodes, a, b) = two();
    let mut limits = ServiceLimits::default();
    limits.long_requests_max = 0;
    let b = b.service.clone().limits(limits);
    a.working("stubborn", "r").await;
    let view = b.view(NATIVE, Principal::anonymous());
    let found = view.find("r").await.unwrap().unwrap();
    let told = view.cancel(&found, stop(), Wait::terminal()).await;
    assert!(is_accepted(&told) && !told.is_reached, "{told:?}");
    assert_eq!((told.row.unwrap().status, a.witness.inside()), (RunStatus::Stopping, 1));
}

#[tokio::test(start_paused = true)]
async fn runs_of_all_nodes_are_cancelled_together_and_each_has_its_answer() {
    let (_nodes, a, b) = two();
    let mut runs = Vec::new();
    for nth in 0..100 {
        let (node, id) = (if nth % 2 == 0 { &a } else { &b }, format!("r{nth}"));
        node.working("stubborn", &id).await;
        runs.push(b.view().find(&id).await.unwrap().unwrap());
    }
    let over = a.working("sleeper", "over").await;
    runs.push(b.found("over").await);
    over.cancel(stop());
    over.quiescent().await;
    over.stored().await.unwrap();
    let began = tokio::time::Instant::now();
    let told = b.view().cancel_all(&runs, stop(), Wait::quiescent()).await;
    assert!(began.elapsed() < secs(9), "one grace, not a hundred: {:?}", began.elapsed());
    assert_eq!((a.witness.inside(), b.witness.inside()), (0, 0));
    for (run, told) in runs.iter().zip(&told[..100]) {
        assert!(is_accepted(told) && told.is_reached, "{told:?}");
        assert_eq!(told.row.as_ref().unwrap().run, run.id());
    }
    let over = Disposition::AlreadyTerminal { status: RunStatus::Cancelled };
    assert_eq!(told[100].disposition, over);
}

#[tokio::test(start_paused = true)]
async fn a_queued_run_of_another_node_never_starts_when_all_are_cancelled() {
    let (_nodes, a, b) = two();
    let mut runs = Vec::new();
    // More than are asked for at once: those that wait come last.
    for (nth, place) in (0..70).map(|nth| (nth, "first")).chain((0..3).map(|nth| (nth, "next"))) {
        let id = format!("{place}{nth}");
        let lane = json!({ "key": format!("lane{nth}"), "on_busy": "enqueue" });
        let body = json!({ "component": "agent/sleeper", "id": id, "lane": lane });
        assert_eq!(post(&a.app, "/v1/runs", &body).await.status, StatusCode::CREATED);
        soon("it works or waits", || place == "next" || a.witness.inside() > nth).await;
        a.run(&id).stored().await.unwrap();
        runs.push(b.found(&id).await);
    }
    let told = b.view().cancel_all(&runs, stop(), Wait::quiescent()).await;
    assert!(told.iter().all(|told| is_accepted(told) && told.is_reached), "{told:?}");
    assert_eq!((a.witness.entered(), a.witness.inside()), (70, 0));
}

#[tokio::test(start_paused = true)]
async fn an_id_and_a_key_of_another_node_are_answered_as_by_that_one() {
    let (_nodes, a, b) = two();
    a.working("sleeper", "r").await;
    let body = json!({ "component": "agent/sleeper", "id": "r" }).to_string();
    let near = send(&a.app, "POST", "/v1/runs", &[JSON], body.clone()).await;
    let far = send(&b.app, "POST", "/v1/runs", &[JSON], body).await;
    assert_eq!((near.status, near.json()), (far.status, far.json()));
    assert_eq!(far.status, StatusCode::CONFLICT);
    let keyed = [JSON, ("idempotency-key", "k")];
    let body = json!({ "component": "agent/sleeper" }).to_string();
    let first = send(&a.app, "POST", "/v1/runs", &keyed, body.clone()).await;
    soon("it works", || a.witness.inside() == 2).await;
    let again = send(&b.app, "POST", "/v1/runs", &keyed, body).await;
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(again.json()["uuid"], first.json()["uuid"]);
    assert_eq!(again.header("location"), first.header("location"));
    let other = json!({ "component": "agent/echo" }).to_string();
    let refused = send(&b.app, "POST", "/v1/runs", &keyed, other).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!((a.witness.entered(), b.witness.entered()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_alone_has_no_owner_to_ask() {
    let store = Arc::new(quell::store::MemoryStore::new());
    let witness = Witness::default();
    let first = service_with(EngineConfig::new().store(Arc::clone(&store) as _), &witness);
    start(&router(first.clone()), "sleeper", "r", Value::Null).await;
    let second = service_with(EngineConfig::new().store(store), &witness);
    let view = second.view(NATIVE, Principal::anonymous());
    let found = view.find("r").await.unwrap().unwrap();
    let told = view.cancel(&found, stop(), Wait::terminal()).await;
    assert!(told.stored.is_err() && told.disposition == Disposition::Unknown, "{told:?}");
    drop(first);
}
