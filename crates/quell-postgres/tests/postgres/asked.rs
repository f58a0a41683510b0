//! Stops through a member that does not have the run.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use quell::{CancelRequest, Disposition, Engine, RunRef, RunSpec, RunStatus};
use quell_core::RunId;
use quell_core::cluster::{Answer, Asked, Cluster as _};
use quell_core::store::{RunRecord, Store as _, StoreError};
use quell_postgres::{PostgresNode, PostgresOptions};
use quell_test_support::{PostgresServer, heard, soon, within};

use crate::crew::{bare, engine, is_long, join, listener, live, on_threads, options, read, stop};
use crate::fixture::Place;
use crate::proxy::Proxy;

#[test]
fn a_stop_of_a_run_on_another_member_is_decided_by_its_owner() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let (a, b) = (engine(&node_a), engine(&node_b));
        let far = live(&a, "far").await;
        assert!(b.get(far.id()).is_none());
        assert_eq!(b.owner_of(far.id()).await.unwrap().as_deref(), Some("a"));
        assert_eq!(b.owner_of(RunId::from_text("nobody's")).await, Ok(None));
        let answer = b.cancel_anywhere(far.id(), stop("ada")).await.unwrap();
        assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
        // It is stored by then (I34).
        let stored = read(&*node_b, far.id()).await.stop.unwrap();
        assert_eq!(stored.cause.by.as_deref(), Some("ada"));
        let row = within("it ends", far.ended()).await.own_row().clone();
        assert_eq!(row.status, RunStatus::Cancelled);
        assert_eq!(row.cause.unwrap().by.as_deref(), Some("ada"));
        far.stored().await.unwrap();
        let over = b.cancel_anywhere(far.id(), stop("bob")).await;
        assert_eq!(over, Ok(Disposition::AlreadyTerminal { status: RunStatus::Cancelled }));
        let unknown = b.cancel_anywhere(RunId::from_text("nobody's"), stop("bob")).await;
        assert_eq!(unknown, Ok(Disposition::Unknown));
        assert_eq!(place.sql("select count(*) from stop"), "1", "nothing is kept of those");
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}

#[test]
fn answered_stops_leave_after_a_while() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let (a, b) = (engine(&node_a), engine(&node_b));
        for name in ["one", "two"] {
            let far = live(&a, name).await;
            b.cancel_anywhere(far.id(), stop("ada")).await.unwrap();
            assert_eq!(place.sql("select count(*) from stop"), "1");
            place.sql("update stop set answered = answered - 660000");
        }
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}

#[test]
fn too_many_stops_that_wait_for_one_member_are_refused() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let run = RunId::from_text("r");
        bare(&a, run).await.unwrap();
        place.sql(
            "insert into stop (ask, run, owner, channel, request, at)
            select gen_random_uuid(), gen_random_uuid(), 'a', 'x', '{}', 1
            from generate_series(1, 10000)",
        );
        let error = b.ask(run.into(), stop("ada")).await.unwrap_err();
        assert!(error.to_string().contains("10000 stops wait for node a"), "{error}");
        place.sql(
            "delete from stop where nr > 5000;
            update stop set run = (select id from run) where nr <= 1000",
        );
        let error = b.ask(run.into(), stop("ada")).await.unwrap_err();
        assert!(error.to_string().contains("or 1000 of this run,"), "{error}");
        let other = RunId::from_text("other");
        bare(&a, other).await.unwrap();
        // All that wait are of one owner, but for some of runs that are gone.
        let below = RunId::from_text("below");
        bare(&a, below).await.unwrap();
        place.sql(&format!(
            "update run set owner = 'ada' where id in ('{run}', '{other}');
            update run set root = '{other}', parent = '{other}' where id = '{below}';
            update stop set run = '{other}' where nr between 1001 and 1900;
            update stop set run = '{below}' where nr between 1901 and 2500"
        ));
        for of_ada in [other, below] {
            let error = b.ask(of_ada.into(), stop("ada")).await.unwrap_err();
            assert!(error.to_string().contains("or 2500 of runs of its owner"), "{error}");
        }
        place.sql("delete from stop where nr = 2500");
        let asked = b.ask(below.into(), stop("ada")).await.unwrap();
        assert!(matches!(asked, Disposition::Recorded { .. }), "{asked:?}");
        b.ask(other.into(), stop("ada")).await.unwrap_err();
        let of_ben = RunId::from_text("his");
        bare(&a, of_ben).await.unwrap();
        place.sql(&format!("update run set owner = 'ben' where id = '{of_ben}'"));
        let asked = b.ask(of_ben.into(), stop("ben")).await.unwrap();
        assert!(matches!(asked, Disposition::Recorded { .. }), "{asked:?}");
        place.sql(&format!("update run set owner = null where id = '{other}'"));
        let asked = b.ask(other.into(), stop("ada")).await.unwrap();
        assert!(matches!(asked, Disposition::Recorded { .. }), "{asked:?}");
        // As many as may be answered at once are read, those that cannot be read included.
        assert_eq!(a.inbox(Vec::new()).await.unwrap().len(), 1_000);
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn an_answer_of_somebody_who_is_not_the_owner_changes_nothing() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let run = RunId::from_text("r");
        bare(&a, run).await.unwrap();
        let asked = b.ask(run.into(), stop("ada")).await.unwrap();
        assert!(matches!(asked, Disposition::Recorded { .. }), "{asked:?}");
        let [Asked::Stop(asked)] = &a.inbox(Vec::new()).await.unwrap()[..] else { panic!("one") };
        assert_eq!((asked.run, asked.request.asked_by()), (run, Some("ada")));
        b.answer(asked.nr, Answer::Stop(Disposition::Unknown)).await.unwrap();
        b.answer(99, Answer::Stop(Disposition::Unknown)).await.unwrap();
        assert_eq!(place.sql("select count(*) from stop where answer is null"), "1");
        a.answer(asked.nr, Answer::Stop(Disposition::Forbidden)).await.unwrap();
        a.answer(asked.nr, Answer::Stop(Disposition::Unknown)).await.unwrap();
        assert_eq!(place.sql("select answer from stop"), r#"{"disposition":"forbidden"}"#);
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn where_notifications_do_not_come_that_is_told_and_stops_are_found_all_the_same() {
    let server = PostgresServer::start(&["listen_addresses=127.0.0.1"]);
    let place = Place::on(&server);
    on_threads(async {
        let proxy = Proxy::start(server.port()).await;
        proxy.swallow_news();
        let told = || heard("quell_postgres", "notifications of the database do not come").len();
        let before = told();
        let address = format!("postgres://quell@127.0.0.1:{}/{}", proxy.port, place.database);
        let mut nodes = Vec::new();
        for name in ["a", "b"] {
            let mut options = PostgresOptions::new(&address);
            options.node = Some(name.into());
            nodes.push(std::sync::Arc::new(PostgresNode::open(options).await.unwrap()));
        }
        let (a, b) = (engine(&nodes[0]), engine(&nodes[1]));
        soon("both say so", || told() == before + 2).await;
        // Nor is who reads told of what is new: it looks more often.
        assert!(!nodes[0].watch(RunId::from_text("r")).unwrap().is_told());
        for nth in 0..8 {
            let far = live(&a, &format!("far {nth}")).await;
            let answer = b.cancel_anywhere(far.id(), stop("ada")).await.unwrap();
            assert!(matches!(answer, Disposition::Accepted { .. }), "{answer:?}");
        }
        for node in nodes {
            node.close().await.unwrap();
        }
    });
}

#[test]
fn a_member_whose_notifications_were_late_hears_of_them_all_the_same() {
    let server = PostgresServer::start(&["listen_addresses=127.0.0.1"]);
    let place = Place::on(&server);
    on_threads(async {
        let proxy = Proxy::start(server.port()).await;
        proxy.hold_news();
        let address = format!("postgres://quell@127.0.0.1:{}/{}", proxy.port, place.database);
        let mut options = PostgresOptions::new(&address);
        options.node = Some("a".into());
        let node = PostgresNode::open(options).await.unwrap();
        let reads = node.watch(RunId::from_text("r")).unwrap();
        soon("it finds that none come", || !reads.is_told()).await;
        proxy.pass_news();
        soon("it finds that they do", || reads.is_told()).await;
        drop(reads);
        node.close().await.unwrap();
    });
}

/// Stops during each of which the sessions that listen are ended: 1,000 with `QUELL_LONG=1`.
fn losses() -> usize {
    if is_long() { 1_000 } else { 200 }
}

#[test]
fn no_stop_is_lost_whose_listeners_are_ended_between_the_question_and_its_signal() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let (a, b) = (engine(&node_a), engine(&node_b));
        // Within the transaction that takes the stop, before it notifies anybody.
        place.sql(
            "create function quell.end_listeners() returns trigger language plpgsql as $$ begin
                perform pg_terminate_backend(pid) from pg_stat_activity
                where query like 'listen %' and datname = current_database();
                return new; end $$;
            create trigger loses before insert on stop
                execute function quell.end_listeners()",
        );
        let mut longest = Duration::ZERO;
        for nth in 0..losses() {
            let far = live(&a, &format!("far {nth}")).await;
            let began = std::time::Instant::now();
            let answer = b.cancel_anywhere(far.id(), stop("ada")).await.unwrap();
            longest = longest.max(began.elapsed());
            // Not `Recorded`: it was decided within the time that an asker waits.
            assert!(matches!(answer, Disposition::Accepted { .. }), "{nth}: {answer:?}");
            assert_eq!(within("it ends", far.ended()).await.status, RunStatus::Cancelled);
        }
        println!("{} stops without listeners: the longest took {longest:?}", losses());
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}

/// Runs, of each of which two stops are asked for: 50,000 with `QUELL_LONG=1`.
fn runs() -> usize {
    if is_long() { 50_000 } else { 1_000 }
}

#[test]
fn of_many_stops_through_the_wrong_member_none_is_lost_and_none_is_told_wrong() {
    let place = Place::shared();
    on_threads(async {
        let nodes = [join(&place, "a").await, join(&place, "b").await];
        let engines = [engine(&nodes[0]), engine(&nodes[1])];
        let mut rng = fastrand::Rng::with_seed(11);
        let began = std::time::Instant::now();
        let mut plans = Vec::new();
        for nth in 0..runs() {
            let (owner, ends_in) = (nth % 2, rng.u64(0..40));
            let run = if rng.bool() {
                engines[owner].submit_durably(RunSpec::agent("listens"), listener).await
            } else {
                let body = async move |_: quell::RunContext| {
                    tokio::time::sleep(Duration::from_millis(ends_in)).await;
                    Ok(())
                };
                engines[owner].submit_durably(RunSpec::agent("ends"), body).await
            };
            plans.push((owner, run.unwrap().into_ref()));
            if plans.len() == 20 {
                ask_all(&engines, &nodes, &mut plans, &mut rng).await;
            }
            if (nth + 1) % 5_000 == 0 {
                println!("{} stops in {:?}", 2 * (nth + 1), began.elapsed());
            }
        }
        assert_eq!(place.sql("select count(*) from stop where answer is null"), "0");
        assert_eq!(place.sql("select count(*) from run where status < 3"), "0");
        for node in &nodes {
            node.close().await.unwrap();
        }
    });
}

/// Asks twice for each stop, at once and in any order, and compares the answers with the records.
async fn ask_all(
    engines: &[Engine; 2],
    nodes: &[std::sync::Arc<PostgresNode>; 2],
    plans: &mut Vec<(usize, RunRef)>,
    rng: &mut fastrand::Rng,
) {
    let mut asks: Vec<_> = plans
        .iter()
        .flat_map(|(owner, run)| ["ada", "bob"].map(|by| (*owner, run.id(), by)))
        .collect();
    rng.shuffle(&mut asks);
    let asked = futures::stream::iter(asks).map(|(owner, run, by)| async move {
        (run, by, engines[1 - owner].cancel_anywhere(run, stop(by)).await.unwrap())
    });
    let told: Vec<_> = asked.buffer_unordered(16).collect().await;
    let mut records = HashMap::new();
    for (owner, run) in plans.drain(..) {
        within("it ends", run.ended()).await;
        run.stored().await.unwrap();
        records.insert(run.id(), read(&*nodes[owner], run.id()).await);
    }
    for (run, by, answer) in told {
        assert!(is_right(&records[&run], by, &answer), "{by}: {answer:?} of {:?}", records[&run]);
    }
}

fn is_right(record: &RunRecord, by: &str, answer: &Disposition) -> bool {
    let stopper = record.stop.as_ref().and_then(|stop| stop.cause.by.as_deref());
    match answer {
        Disposition::Accepted { .. } => stopper == Some(by),
        Disposition::AlreadyStopping { cause, .. } => {
            stopper != Some(by) && cause.by.as_deref() == stopper
        }
        Disposition::AlreadyTerminal { status } => *status == record.status && stopper != Some(by),
        _ => false,
    }
}

#[test]
fn while_the_database_is_away_a_member_fails_in_time_and_once_it_is_back_it_goes_on() {
    let server = PostgresServer::start(&[]);
    let place = Place::on(&server);
    on_threads(async {
        let mut options = options(&place, "a", crate::crew::LONG);
        options.connect_timeout = Duration::from_millis(300);
        let a = PostgresNode::open(options).await.unwrap();
        let b = join(&place, "b").await;
        let run = RunId::from_text("r");
        bare(&b, run).await.unwrap();
        server.stop_at_once();
        let away = |answer: Result<(), StoreError>| {
            assert!(matches!(answer, Err(StoreError::Unreachable { .. })), "{answer:?}");
        };
        away(within("it fails", a.ask(run.into(), stop("ada"))).await.map(drop));
        away(within("it fails", a.renew()).await);
        away(within("it fails", a.take_over()).await.map(drop));
        away(within("it fails", a.answer(1, Answer::Stop(Disposition::Unknown))).await);
        away(within("it fails", a.inbox(Vec::new())).await.map(drop));
        server.start_again();
        a.renew().await.unwrap();
        let asked =
            within("it is asked", a.ask(run.into(), CancelRequest::because("enough"))).await;
        assert!(matches!(asked, Ok(Disposition::Recorded { .. })), "{asked:?}");
        assert_eq!(within("it hears", b.inbox(Vec::new())).await.unwrap().len(), 1);
        soon("both listen again", || place.sessions("query like 'listen %'") == 2).await;
        a.close().await.unwrap();
        b.close().await.unwrap();
        assert_eq!(a.renew().await, Err(StoreError::Closed));
    });
}

#[test]
fn stops_that_nobody_can_decide_yet_hold_up_no_other_one() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let (a, b) = (engine(&node_a), engine(&node_b));
        // No engine has it yet, as before it is recovered, or if it cannot be read.
        let run = RunId::from_text("nobody's yet");
        bare(&node_a, run).await.unwrap();
        place.sql(&format!(
            "insert into stop (ask, run, owner, channel, request, at)
            select gen_random_uuid(), '{run}', 'a', 'x', '{{}}', 1 from generate_series(1, 2500)"
        ));
        for nth in 0..3 {
            let far = live(&a, &format!("far {nth}")).await;
            let answer = within("it is asked", async {
                loop {
                    let answer = b.cancel_anywhere(far.id(), stop("ada")).await.unwrap();
                    if !matches!(answer, Disposition::Recorded { .. }) {
                        break answer;
                    }
                }
            });
            let answer = answer.await;
            let is_decided = |answer: &Disposition| {
                // A stop before had it recorded, perhaps.
                matches!(answer, Disposition::Accepted { .. } | Disposition::AlreadyStopping { .. })
                    || matches!(answer, Disposition::AlreadyTerminal { .. })
            };
            assert!(is_decided(&answer), "{answer:?}");
        }
        assert_eq!(place.sql("select count(*) from stop where answer is null"), "2500");
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}
