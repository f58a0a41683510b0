//! Ids that a caller chooses, of runs and sessions: twice, at the same instant, in every state.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::Request;
use futures::future::join_all;
use quell::{Engine, Payload, RunContext, RunFilter};
use quell_agentos::Options;
use quell_flow::{Catalog, Component};
use quell_http::{Access, Key};
use tokio::sync::Notify;

use crate::support::http::{Answer, form, read, refused};
use crate::support::{Site, fresh};
use quell_demo::Witness;

const AT_ONCE: usize = 8;

fn rounds() -> usize {
    if std::env::var_os("QUELL_LONG").is_some() { 1_000 } else { 50 }
}

/// Counts the bodies that were polled, and lets one go that hears of its stop and waits for leave.
#[derive(Clone, Default)]
struct Bodies {
    polled: Arc<AtomicUsize>,
    leave: Arc<Notify>,
}

impl Bodies {
    fn component(&self) -> Component {
        let bodies = self.clone();
        Component::agent("deaf", move |ctx: RunContext, input: Payload| {
            let bodies = bodies.clone();
            async move {
                bodies.polled.fetch_add(1, Ordering::SeqCst);
                let _ = ctx.is_stopping();
                bodies.leave.notified().await;
                Ok(input)
            }
        })
    }

    fn site(&self, access: Access) -> Site {
        let catalog = Catalog::new().with(self.component());
        let (witness, engine) = (Witness::default(), Engine::new());
        Site::made_of(witness, catalog, engine, Options::default(), access)
    }
}

/// Sends the same request at the same instant, on threads of their own.
async fn at_once(site: &Site, request: impl Fn(usize) -> Request<Body>) -> Vec<Answer> {
    let calls = (0..AT_ONCE).map(|caller| {
        let (site, request) = (site.clone(), request(caller));
        tokio::spawn(async move { site.send(request).await })
    });
    join_all(calls).await.into_iter().map(Result::unwrap).collect()
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// A request of somebody; of nobody if access is open.
fn create(path: &str, fields: &[(&str, &str)], who: &str) -> Request<Body> {
    let mut fields = fields.to_vec();
    fields.extend([("background", "true"), ("stream", "false")]);
    let request = Request::post(format!("{path}/runs"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", format!("Bearer {who}"));
    request.body(Body::from(form(&fields))).unwrap()
}

fn get(path: &str, who: &str) -> Request<Body> {
    let request = Request::get(path).header("authorization", format!("Bearer {who}"));
    request.body(Body::empty()).unwrap()
}

/// Starts as many as there are callers with one id; checks that one of them did.
async fn one_of_many(site: &Site, run: &str, path: &str) {
    let sessions: Vec<_> = (0..AT_ONCE).map(|caller| format!("s{caller}")).collect();
    let answers = at_once(site, |caller| {
        let fields = [("message", "m"), ("session_id", sessions[caller].as_str()), ("run_id", run)];
        create(path, &fields, "")
    });
    let answers = answers.await;
    assert_eq!((count(&answers, 202), count(&answers, 409)), (1, AT_ONCE - 1));
    // It is in the session of who was first, and in no other.
    for (answer, session) in answers.iter().zip(&sessions) {
        let status = site.get(&format!("{path}/runs/{run}?session_id={session}")).await.status;
        assert_eq!(status.as_u16(), if answer.status == 202 { 200 } else { 404 });
    }
}

/// agno #9884, #9965, PR #9751: an id that is in use replaces somebody's run there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_runs_of_one_id_there_is_one_whatever_their_sessions() {
    let bodies = Bodies::default();
    let site = bodies.site(Access::open());
    for round in 0..rounds() {
        let run = fresh("same");
        one_of_many(&site, &run, "/agents/deaf").await;
        while bodies.polled.load(Ordering::SeqCst) <= round {
            tokio::task::yield_now().await;
        }
        assert_eq!(bodies.polled.load(Ordering::SeqCst), round + 1, "nothing ran twice");
        bodies.leave.notify_one();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_a_run_is_taken_in_every_state_of_it_for_every_kind() {
    let bodies = Bodies::default();
    let site = bodies.site(Access::open());
    let run = fresh("states");
    let fields = [("message", "m"), ("session_id", "first"), ("run_id", run.as_str())];
    assert_eq!(site.send(create("/agents/deaf", &fields, "")).await.status, 202);
    let check = async |state: &str| {
        for path in ["/agents/deaf", "/agents/slow-agent", "/teams/slow-team"] {
            let same = [("message", "m"), ("session_id", "other"), ("run_id", run.as_str())];
            for answer in at_once(&site, |_| create(path, &same, "")).await {
                let words = format!("Run {run} already exists");
                refused(&answer, 409, &words, None);
            }
        }
        let seen = read(&site, "/agents/deaf", &run, "first").await;
        assert_eq!(seen["quell"]["status"], state);
    };
    while bodies.polled.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    check("running").await;
    let cancel = format!("/agents/deaf/runs/{run}/cancel");
    assert_eq!(site.post(&cancel).await.header("quell-disposition"), "accepted");
    check("stopping").await;
    bodies.leave.notify_one();
    site.post(&format!("{cancel}?wait=true")).await;
    check("cancelled").await;
    assert_eq!(bodies.polled.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_one_name_is_each_owners_own() {
    let keys = ["ada", "ben"].map(|who| Key::new(who, who));
    let site = Site::new(Options::default(), keys.into_iter().fold(Access::open(), Access::key));
    let who = |caller: usize| if caller.is_multiple_of(2) { "ada" } else { "ben" };
    let at = "/agents/slow-agent";
    for _ in 0..rounds().min(200) {
        let session = fresh("session");
        let runs: Vec<_> = (0..AT_ONCE).map(|_| fresh("of")).collect();
        let answers = at_once(&site, |caller| {
            let message = ("message", "ticks=1000000");
            let fields = [message, ("session_id", &*session), ("run_id", &runs[caller])];
            create(at, &fields, who(caller))
        });
        assert_eq!(count(&answers.await, 202), AT_ONCE, "runs of a session do not wait");
        let cancel = async |run: &str, who: &str, session: &str| {
            let path = format!("{at}/runs/{run}/cancel?wait=true&session_id={session}");
            let request = Request::post(path).header("authorization", format!("Bearer {who}"));
            site.send(request.body(Body::empty()).unwrap()).await.status.as_u16()
        };
        for (caller, run) in runs.iter().enumerate() {
            let path = format!("{at}/runs/{run}?session_id={session}");
            let of = async |who| site.send(get(&path, who)).await;
            assert_eq!(of(who(caller)).await.json()["session_id"], session.as_str());
            assert_eq!(of(who(caller + 1)).await.status, 404, "another's run");
            // The right session does not open another's run, and a wrong one not even one's own.
            assert_eq!(cancel(run, who(caller + 1), &session).await, 404);
            assert_eq!(cancel(run, who(caller), "another").await, 404);
            let live = site.service.engine().runs(&RunFilter::new().live().roots()).len();
            assert_eq!(live, AT_ONCE - caller, "none was stopped but those of before");
            assert_eq!(cancel(run, who(caller), &session).await, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_is_one_run_in_every_state_of_it() {
    let bodies = Bodies::default();
    let site = bodies.site(Access::open());
    let ask = async |message: &str| {
        let fields = [("message", message), ("session_id", "s")];
        at_once(&site, |_| {
            let mut request = create("/agents/deaf", &fields, "");
            request.headers_mut().insert("idempotency-key", "one".parse().unwrap());
            request
        })
        .await
    };
    let first = ask("m").await;
    let run = first[0].json()["run_id"].as_str().unwrap().to_owned();
    let check = async |state: &str| {
        for answer in ask("m").await {
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["run_id"]),
                (202, &run.as_str().into())
            );
        }
        assert_eq!(count(&ask("other").await, 409), AT_ONCE, "{state}");
        let seen = read(&site, "/agents/deaf", &run, "s").await;
        assert_eq!(seen["quell"]["status"], state);
    };
    while bodies.polled.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    check("running").await;
    let cancel = format!("/agents/deaf/runs/{run}/cancel");
    site.post(&cancel).await;
    check("stopping").await;
    bodies.leave.notify_one();
    site.post(&format!("{cancel}?wait=true")).await;
    check("cancelled").await;
    assert_eq!(bodies.polled.load(Ordering::SeqCst), 1);
}
