//! What a session relies on, whatever the settings of its role or database say.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quell_core::RunId;
use quell_core::cluster::Cluster as _;
use quell_core::store::Store as _;
use quell_postgres::{PostgresNode, PostgresOptions};
use quell_test_support::Pooler;
use quell_test_support::records::{accept, epoch};
use quell_test_support::{PostgresServer, soon, within};

use crate::crew::{bare, join, on_threads, stop};
use crate::fixture::{HOLDER, Place, block_on};
use crate::proxy::Proxy;

/// Sets something for all sessions of a database that begin from now on.
fn set(place: &Place<'_>, setting: &str) {
    let Place { server, database } = place;
    server.sql("postgres", &format!("alter database {database} set {setting}"));
}

#[test]
fn a_session_with_nothing_to_do_keeps_its_lock_where_idle_ones_are_ended() {
    let place = Place::shared();
    // A session that has only begun is idle too, until its first statement comes.
    set(&place, "idle_session_timeout = '500ms'");
    block_on(async {
        let store = place.open().await.unwrap();
        let holder = || place.sql(&format!("select pid {HOLDER} and granted"));
        let before = holder();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            assert_eq!(holder(), before, "it was ended, and others could have the store");
        }
        store.append(vec![accept(RunId::from_text("r"), epoch(&store))]).await.unwrap();
        store.close().await.unwrap();
    });
}

#[test]
fn what_is_asked_is_durable_although_commits_of_the_database_are_not_any_more() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let run = RunId::from_text("r");
        bare(&a, run).await.unwrap();
        place.sql(
            "create table seen (setting text);
            create function quell.see() returns trigger language plpgsql as $$ begin
                insert into quell.seen values (current_setting('synchronous_commit'));
                return new; end $$;
            create trigger sees before insert on stop execute function quell.see()",
        );
        set(&place, "synchronous_commit = off");
        place.end_sessions("true");
        b.ask(run.into(), stop("ada")).await.unwrap();
        assert_eq!(place.sql("select * from seen"), "on");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn a_member_that_is_cut_off_within_a_transaction_holds_up_no_take_over() {
    let server = PostgresServer::start(&["listen_addresses=127.0.0.1"]);
    let place = Place::on(&server);
    on_threads(async {
        let proxy = Proxy::start(server.port()).await;
        let address = format!("postgres://quell@127.0.0.1:{}/{}", proxy.port, place.database);
        let mut options = PostgresOptions::new(address);
        (options.node, options.lease) = (Some("a".into()), Duration::from_secs(2));
        options.statement_timeout = Duration::from_hours(1);
        let a = Arc::new(PostgresNode::open(options).await.unwrap());
        let b = join(&place, "b").await;
        proxy.be_silent(true);
        let late = tokio::spawn(async move { bare(&a, RunId::from_text("late")).await });
        let within_it = || place.sessions("state = 'idle in transaction'");
        soon("it is within one", || within_it() == 1).await;
        within("it is taken over", async {
            while b.take_over().await.unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        late.abort();
        assert_eq!(place.sql("select count(*) from run"), "0");
        b.close().await.unwrap();
    });
}

#[test]
fn a_pooler_that_shares_sessions_is_refused_also_while_others_use_it() {
    let server = PostgresServer::start(&[]);
    let (place, pooler) = (Place::on(&server), Pooler::start(&server, "transaction"));
    let url = pooler.url(&place.database);
    on_threads(async {
        for _ in 0..4 {
            let (client, connection) =
                tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            tokio::spawn(async move { while client.batch_execute("select 1").await.is_ok() {} });
        }
        for nth in 0..50 {
            let mut options = PostgresOptions::new(&*url);
            options.node = Some("a".into());
            let refused = PostgresNode::open(options).await.unwrap_err().to_string();
            assert!(refused.contains("pool_mode"), "{nth}: {refused}");
        }
    });
    let schemas = "select count(*) from pg_namespace where nspname = 'quell'";
    assert_eq!(place.sql(schemas), "0");
}

/// Options with which nothing ends by itself.
fn patient(mut options: PostgresOptions, name: &str) -> PostgresOptions {
    (options.node, options.lease) = (Some(name.into()), Duration::from_hours(1));
    options.statement_timeout = Duration::from_hours(1);
    options.connect_timeout = Duration::from_hours(1);
    options
}

#[test]
fn a_renewal_waits_for_no_stop_that_another_member_is_asked_for() {
    let place = Place::shared();
    on_threads(async {
        let a = join(&place, "a").await;
        let b = PostgresNode::open(patient(place.options(), "b")).await.unwrap();
        let b = Arc::new(b);
        let run = RunId::from_text("r");
        bare(&a, run).await.unwrap();
        // As a member that takes it over, and was frozen meanwhile.
        let frozen = "begin; select 1 from quell.node where name = 'a' for update;
            select pg_sleep(600)";
        let mut frozen = place.server.session(&place.database, frozen);
        let sleeps = "wait_event = 'PgSleep'";
        soon("it has the row", || place.sessions(sleeps) == 1).await;
        let asks: Vec<_> = (0..20)
            .map(|_| {
                let b = Arc::clone(&b);
                tokio::spawn(async move { b.ask(run.into(), stop("ada")).await })
            })
            .collect();
        soon("they ask", || place.sessions("query ~ 'insert into stop .ask'") > 0).await;
        for _ in 0..9 {
            within("it is renewed", b.renew()).await.unwrap();
            let answer = quell_core::cluster::Answer::Stop(quell::Disposition::Unknown);
            within("an answer is given", b.answer(9, answer)).await.unwrap();
            assert_eq!(within("it looks", b.take_over()).await, Ok(None));
            assert_eq!(place.sessions("wait_event_type = 'Lock'"), 0, "nobody waits for the row");
        }
        place.end_sessions(sleeps);
        frozen.wait().unwrap();
        for ask in asks {
            let answer = within("it is asked", ask).await.unwrap();
            assert!(matches!(answer, Ok(quell::Disposition::Recorded { .. })), "{answer:?}");
        }
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn a_renewal_that_was_given_up_keeps_no_other_one_waiting() {
    let server = PostgresServer::start(&["listen_addresses=127.0.0.1"]);
    let place = Place::on(&server);
    on_threads(async {
        let proxy = Proxy::start(server.port()).await;
        let address = format!("postgres://quell@127.0.0.1:{}/{}", proxy.port, place.database);
        let a = PostgresNode::open(patient(PostgresOptions::new(address), "a")).await.unwrap();
        for renewed in join_all((0..20).map(|_| a.renew())).await {
            renewed.unwrap();
        }
        proxy.be_silent(true);
        for _ in 0..9 {
            let renewed = tokio::time::timeout(Duration::from_millis(50), a.renew()).await;
            assert!(renewed.is_err(), "{renewed:?}");
        }
        // What was sent meanwhile is never answered.
        proxy.be_silent(false);
        within("it is renewed", a.renew()).await.unwrap();
    });
}
