//! What a session relies on, whatever the settings of its role or database say.

use std::sync::Arc;
use std::time::Duration;

use quell_core::RunId;
use quell_core::cluster::Cluster as _;
use quell_core::store::Store as _;
use quell_postgres::{PostgresNode, PostgresOptions};
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
    set(&place, "idle_session_timeout = '20ms'");
    block_on(async {
        let store = place.open().await.unwrap();
        let holder = || place.sql(&format!("select pid {HOLDER} and granted"));
        let before = holder();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
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
        let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where datname = current_database() and pid != pg_backend_pid()";
        place.sql(end);
        b.ask(run, stop("ada")).await.unwrap();
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
        let within_it = "select count(*) from pg_stat_activity
            where datname = current_database() and state = 'idle in transaction'";
        soon("it is within one", || place.sql(within_it) == "1").await;
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
