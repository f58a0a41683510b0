//! Engines whose database is away for long, and hosts whose clock is wrong.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use quell::{Disposition, Engine, EngineConfig, Failure, RunContext, RunSpec, RunStatus};
use quell_core::cluster::Cluster as _;
use quell_core::store::{Accepted, Epoch, Record, Store as _, StoreError};
use quell_core::{RunId, RunKind};
use quell_postgres::PostgresNode;
use quell_test_support::{PostgresServer, soon, within};

use crate::crew::{
    LONG, engine, expire, is_long, join, listener, live, on_threads, options, read, stop,
};
use crate::fixture::Place;

#[test]
fn while_the_database_is_away_what_runs_goes_on_and_a_stop_of_a_local_run_is_carried_out() {
    let server = PostgresServer::start(&[]);
    let place = Place::on(&server);
    let file = server.folder().join("beats");
    on_threads(async {
        let mut options = options(&place, "a", LONG);
        options.connect_timeout = Duration::from_millis(300);
        let node_a = Arc::new(PostgresNode::open(options).await.unwrap());
        let a = Engine::with_config(EngineConfig::new().node(Arc::clone(&node_a)));
        let node_b = join(&place, "b").await;
        let b = engine(&node_b);
        let (near, far) = (live(&a, "near").await, live(&b, "far").await);
        let beats = fs::File::create(&file).unwrap();
        let body = async move |ctx: RunContext| -> Result<(), Failure> {
            loop {
                (&beats).write_all(b".").unwrap();
                ctx.run_until_stopped(tokio::time::sleep(Duration::from_millis(5))).await?;
            }
        };
        let beating = a.submit_durably(RunSpec::agent("beats"), body).await.unwrap().into_ref();
        server.stop_at_once();
        let began = std::time::Instant::now();
        // The body ends although nothing can be stored.
        assert!(matches!(near.cancel(stop("ada")), Disposition::Accepted { .. }));
        assert_eq!(within("it ends", near.ended_status()).await, RunStatus::Cancelled);
        let away = Duration::from_secs(if is_long() { 20 } else { 3 });
        let mut refused = 0;
        while began.elapsed() < away {
            let late = a.submit_durably(RunSpec::agent("late"), listener).await.unwrap_err();
            let words = late.to_string();
            assert!(words.contains("cannot be reached") || words.contains("away"), "{words}");
            let asked = a.cancel_anywhere(far.id(), stop("ada")).await;
            assert!(matches!(asked, Err(StoreError::Unreachable { .. })), "{asked:?}");
            refused += 1;
        }
        let so_far = fs::metadata(&file).unwrap().len();
        let beats = || fs::metadata(&file).unwrap().len() > so_far + 10;
        soon("the other body goes on", beats).await;
        assert!(far.status() == RunStatus::Running && refused > 0);
        server.start_again();
        until_ok("the stop is stored", || near.stored()).await;
        let stored = read(&*node_a, near.id()).await;
        assert_eq!(stored.stop.unwrap().cause.by.as_deref(), Some("ada"));
        let next = || a.submit_durably(RunSpec::agent("next"), listener);
        until_ok("it takes runs again", next).await;
        until_ok("it is asked", || a.cancel_anywhere(far.id(), stop("ada"))).await;
        assert_eq!(within("it ends", far.ended_status()).await, RunStatus::Cancelled);
        a.cancel(beating.id(), stop("ada"));
        within("it ends", beating.ended()).await;
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}

#[test]
fn a_database_that_took_nothing_for_a_while_is_ready_again_by_each_session_that_began_meanwhile() {
    let place = Place::shared();
    on_threads(async {
        let (a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let b = engine(&node_b);
        let far = live(&b, "far").await;
        let all = async || {
            let ready = join_all((0..4).map(|_| a.ready())).await;
            let asked = join_all((0..4).map(|_| a.ask(far.id().into(), stop("ada")))).await;
            ready.into_iter().chain(asked.into_iter().map(|asked| asked.map(drop)))
        };
        let set = |words: &str| {
            let sql = format!("alter database {} {words}", place.database);
            place.server.sql("postgres", &sql);
        };
        set("set default_transaction_read_only = on");
        place.end_sessions("true");
        let none = async || {
            while !all().await.all(|it| matches!(it, Err(StoreError::TakesNoWrites { .. }))) {}
        };
        within("it takes nothing", none()).await;
        set("reset default_transaction_read_only");
        let takes = async || while !all().await.all(|it| it.is_ok()) {};
        within("it takes all", takes()).await;
        assert_eq!(within("it ends", far.ended_status()).await, RunStatus::Cancelled);
        a.renew().await.unwrap();
        a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}

/// Does something again and again until it goes well.
async fn until_ok<T, E, F: Future<Output = Result<T, E>>>(what: &str, attempt: impl Fn() -> F) {
    let attempts = async {
        while attempt().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(what, attempts).await;
}

#[test]
fn a_host_whose_clock_is_an_hour_off_has_its_lease_and_its_stops_all_the_same() {
    const HOUR: Duration = Duration::from_hours(1);
    for is_ahead in [false, true] {
        let place = Place::shared();
        on_threads(async {
            let (a, node_b) = (join(&place, "a").await, join(&place, "b").await);
            let b = engine(&node_b);
            let now = SystemTime::now();
            let at = if is_ahead { now + HOUR } else { now - HOUR };
            let (run, epoch) = (RunId::from_text("far"), Epoch::new(a.boot(), 1));
            let accepted = Accepted::new(run, RunKind::Agent, "far".into(), epoch, at);
            let started = Record::Started { run, epoch, at };
            a.append(vec![Record::Accepted(accepted.into()), started]).await.unwrap();
            a.renew().await.unwrap();
            let none = b.take_over(|_| quell::Recovery::Fail).await.unwrap();
            assert!(none.is_none(), "its lease is that of the database");
            let asked = b.cancel_anywhere(run, stop("ada")).await.unwrap();
            let Disposition::Recorded { lease_until, .. } = asked else { panic!("{asked:?}") };
            let left = lease_until.duration_since(now).unwrap();
            assert!(left < HOUR / 2, "until when is by the clock of the database: {left:?}");
            expire(&place, "a");
            let taken = b.take_over(|_| quell::Recovery::Fail).await.unwrap().unwrap();
            assert_eq!(taken.recovered.ended.cancelled, 1);
            let row = read(&*node_b, run).await.report.unwrap().own_row().clone();
            assert!(row.ended_at.unwrap() >= row.queued_at, "{row:?}");
            a.close().await.unwrap();
            node_b.close().await.unwrap();
        });
    }
}
