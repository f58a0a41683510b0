//! Ids that a caller chooses, of runs and teams: taken twice, at the same instant, in every state.

use std::time::Duration;

use futures::future::join_all;
use quell::{CancelRequest, Engine, EngineConfig, RunFilter};
use quell_http::{Access, Key};
use quell_playbook3d::Options;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::lab::{Answer, Client, IN_USE, Lab, waiting};
use quell_demo::playbook3d::{ALICE, ALPHA, BETA, BOB, SHORT, SLOW, STUBBORN};

const AT_ONCE: usize = 8;

fn rounds() -> usize {
    if std::env::var_os("QUELL_LONG").is_some() { 1_000 } else { 50 }
}

/// Starts runs of one id at the same instant, on threads of their own, one after the other by
/// these clients and in these teams.
async fn at_once(who: &[(&Client, Uuid)], run: &str, body: &Value) -> Vec<Answer> {
    let calls = who.iter().cycle().take(AT_ONCE).enumerate().map(|(caller, (client, team))| {
        // A UUID is the same in either case.
        let run = if caller.is_multiple_of(3) { run.to_uppercase() } else { run.to_owned() };
        let (client, path) = (Client::clone(client), format!("/run_workflow/{team}/{run}"));
        let body = body.to_string();
        tokio::spawn(async move { client.post(&path, body).await })
    });
    join_all(calls).await.into_iter().map(|call| call.expect("no panic")).collect()
}

/// Yields a run as it is listed, in whichever case its id was spelt by who started it.
async fn listed(client: &Client, run: &str) -> Value {
    let runs = client.get("/runs").await.body;
    let is_it = |listed: &&Value| listed["id"].as_str().unwrap().eq_ignore_ascii_case(run);
    runs.as_array().unwrap().iter().find(is_it).cloned().unwrap_or_default()
}

/// Checks that one was started, or none, and that the others were told why not.
fn started(answers: &[Answer], expected: usize) {
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, expected, "{answers:?}");
    answers
        .iter()
        .filter(|answer| answer.status != 200)
        .for_each(|it| it.assert_refused(400, IN_USE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_runs_of_one_id_there_is_one_whatever_their_teams() {
    let lab = Lab::new();
    let (alice, bob) = (lab.alice().await, lab.client(BOB).await);
    for round in 0..rounds() {
        // With an id that was handed out, and with one of the caller's own.
        let run = if round % 2 == 0 {
            let ticket = alice.get("/get_run_id").await;
            ticket.body["run_id"].as_str().unwrap().to_owned()
        } else {
            Uuid::new_v4().to_string()
        };
        let body = json!({ "id": SLOW, "inputs": { "message": "ticks=100000" } });
        let answers = at_once(&[(&alice, ALPHA), (&bob, BETA)], &run, &body).await;
        started(&answers, 1);
        let is_alices = answers.iter().step_by(2).any(|answer| answer.status == 200);
        let (owner, team) = if is_alices { (&alice, ALPHA) } else { (&bob, BETA) };
        let (other, others) = if is_alices { (&bob, BETA) } else { (&alice, ALPHA) };
        assert_eq!(listed(owner, &run).await["team"]["id"], json!(team));
        assert_eq!(other.get(&format!("/runs/{run}/result")).await.status, 404);
        // A ticket that another one used up stops nothing of theirs.
        other.cancel(others, &run).await;
        assert_eq!(lab.service.engine().runs(&RunFilter::new().live().roots()).len(), 1);
        let stopped = owner.cancel(team, &run).await;
        assert_eq!(stopped.header("quell-disposition"), Some("accepted"), "{stopped:?}");
        lab.run(&run).ended().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_a_run_is_taken_in_every_state_of_it() {
    // It has time until it is told that there is none.
    let engine = Engine::with_config(EngineConfig::new().grace(Duration::from_mins(10)));
    let lab = Lab::on_with(engine, waiting(Duration::ZERO));
    let (alice, bob) = (lab.alice().await, lab.client(BOB).await);
    let run = Uuid::new_v4().to_string();
    let stubborn = json!({ "id": STUBBORN, "inputs": { "ms": 600_000, "tag": "states" } });
    let who = [(&alice, ALPHA), (&bob, BETA)];
    started(&at_once(&who, &run, &stubborn).await, 1);
    let (owner, team) =
        if listed(&alice, &run).await.is_null() { (&bob, BETA) } else { (&alice, ALPHA) };
    let check = async |state: &str| {
        for body in [&stubborn, &json!({ "id": SHORT })] {
            started(&at_once(&who, &run, body).await, 0);
        }
        assert_eq!(listed(owner, &run).await["status"], state);
    };
    while lab.ticks("states") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    check("running").await;
    owner.cancel(team, &run).await;
    check("canceling").await;
    lab.run(&run).cancel(CancelRequest::because("it has no time").grace(Duration::ZERO));
    lab.run(&run).ended().await;
    check("canceled").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_is_remembered_stops_the_one_run_that_takes_the_id() {
    let lab = Lab::new();
    let alice = lab.alice().await;
    let body = json!({ "id": SLOW, "inputs": { "message": "probe=reserved" } });
    for _ in 0..rounds() {
        let ticket = alice.get("/get_run_id").await.body;
        let run = ticket["run_id"].as_str().unwrap();
        let stops = (0..AT_ONCE).map(|_| {
            let (alice, run) = (alice.clone(), run.to_owned());
            tokio::spawn(async move { alice.cancel(ALPHA, &run).await })
        });
        for stop in join_all(stops).await {
            assert_eq!(stop.unwrap().header("quell-disposition"), Some("reserved"));
        }
        started(&at_once(&[(&alice, ALPHA)], run, &body).await, 1);
        lab.run(run).ended().await;
        assert_eq!(listed(&alice, run).await["status"], "canceled");
        started(&at_once(&[(&alice, ALPHA)], run, &body).await, 0);
    }
    assert_eq!(lab.ticks("reserved"), 0, "no body was polled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_is_one_however_its_members_spell_it() {
    let spelt = [ALPHA.to_string(), ALPHA.to_string().to_uppercase(), ALPHA.simple().to_string()];
    let key = |name: &str, key: Uuid, teams: &[String]| {
        Key::new(name, key.to_string()).in_teams(teams.to_vec())
    };
    // One of them is in the team three times.
    let carol = Uuid::new_v4();
    let access = Access::open()
        .key(key("alice", ALICE, &spelt[..1]))
        .key(key("bob", BOB, &spelt[1..2]))
        .key(key("carol", carol, &spelt));
    let lab = Lab::made_of(Options::default(), |catalog| catalog, access);
    let who = [lab.alice().await, lab.client(BOB).await, lab.client(carol).await];
    for client in &who {
        let teams = client.get("/teams").await.body;
        assert_eq!(teams, json!([{ "id": ALPHA, "name": "Alpha" }]));
    }
    for _ in 0..rounds().min(200) {
        let run = Uuid::new_v4().to_string();
        let body = json!({ "id": SLOW, "inputs": { "message": "ticks=100000" } });
        let members: Vec<_> = who.iter().map(|client| (client, ALPHA)).collect();
        started(&at_once(&members, &run, &body).await, 1);
        // Everyone sees the one run, and any of them stops it for all.
        let stops = join_all(who.iter().map(async |client| {
            assert_eq!(listed(client, &run).await["team"]["id"], json!(ALPHA));
            client.cancel(ALPHA, &run).await
        }));
        let stops = stops.await;
        let accepted = |it: &&Answer| it.header("quell-disposition") == Some("accepted");
        assert_eq!(stops.iter().filter(accepted).count(), 1, "{stops:?}");
        assert!(stops.iter().all(|stop| stop.status == 200), "{stops:?}");
    }
}
