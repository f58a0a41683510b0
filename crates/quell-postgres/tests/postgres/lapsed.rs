//! Limits of all nodes that nobody uses any more, and exchanges that nobody answers.

use std::time::Duration;

use quell_core::cluster::{Cluster as _, SlotsAsked};
use quell_core::store::Store as _;
use quell_postgres::PostgresNode;
use quell_test_support::{soon_in_real_time, within};

use crate::crew::{LONG, expire, join, on_threads, options};
use crate::fixture::{Place, block_on};
use crate::quotas::ask;

#[test]
fn a_limit_that_nobody_has_used_for_a_while_stands_as_it_was_set() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        assert_eq!(ask(&a, 3, 0, 0).await.max, 3);
        place.sql("update quota_part set since = 0");
        // Who needs another limit has what nobody uses leave.
        let of_ada = SlotsAsked::new("owner ada", "owner", Some(1)).want(1, 0);
        within("an answer", b.slots(vec![of_ada])).await.unwrap();
        assert_eq!(place.sql("select count(*) from quota where name = 'in all'"), "0");
        let stands = ask(&a, 3, 0, 0).await;
        assert_eq!((stands.max, &*stands.set_by), (3, "a"));
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn what_nobody_uses_leaves_the_tables_and_can_be_used_again() {
    let place = Place::shared();
    block_on(async {
        let a = join(&place, "a").await;
        let owner = |name: &str| SlotsAsked::new(format!("owner {name}"), "owner", Some(1));
        a.slots(vec![owner("ada").want(1, 0), owner("bob").want(1, 0)]).await.unwrap();
        a.slots(vec![owner("ada").give(1)]).await.unwrap();
        place.sql("update quota_part set since = 1");
        a.slots(vec![owner("eve").want(1, 0)]).await.unwrap();
        let names = "select string_agg(name, ',' order by name) from quota";
        assert_eq!(place.sql(names), "owner bob,owner eve");
        let of_ada = a.slots(vec![owner("ada").want(1, 0)]).await.unwrap();
        assert_eq!(of_ada[0].held, 1);
        a.close().await.unwrap();
    });
}

#[test]
fn a_limit_leaves_when_two_members_have_its_last_parts_leave_at_once() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let of = |name: &str| vec![SlotsAsked::new(format!("owner {name}"), "owner", Some(1))];
        for node in [&a, &b] {
            node.slots(of("ada")).await.unwrap();
        }
        // One has as many leave as one does at a time, the last of which is of a.
        place.sql("update quota_part set since = case node when 'a' then 2 else 3 end");
        place.sql(
            "insert into quota_part
            select 'x ' || i, 'x', 0, 0, 1, 0 from generate_series(1, 15) i",
        );
        // Neither goes on before both have. A sequence keeps that both were there, also when one of
        // them has committed before the other looks.
        place.sql(
            "create sequence met;
            create function meet() returns trigger language plpgsql as $$ begin
                perform nextval('quell.met');
                while (select last_value from quell.met) < 2 loop
                    perform pg_sleep(0.001);
                end loop;
                return old;
            end $$;
            create trigger meet before delete on quota_part for each row
            when (old.name = 'owner ada') execute function meet()",
        );
        // Those that one finds locked it passes over: b begins when a has all that it has leave.
        let met = "select is_called from met";
        let (of_a, of_b) = tokio::join!(a.slots(of("eve")), async {
            soon_in_real_time("a is at its last", || place.sql(met) == "t").await;
            b.slots(of("bob")).await
        });
        assert_eq!((of_a.unwrap().len(), of_b.unwrap().len()), (1, 1));
        assert_eq!(place.sql("select count(*) from quota_part where node = 'x'"), "0");
        let names = "select string_agg(name, ',' order by name) from quota";
        assert_eq!(place.sql(names), "owner bob,owner eve");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn a_limit_leaves_of_which_who_is_gone_had_a_part_and_no_slot() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let owner = |name: &str| SlotsAsked::new(format!("owner {name}"), "owner", Some(1));
        a.slots(vec![owner("ada").want(1, 0)]).await.unwrap();
        a.slots(vec![owner("ada").give(1)]).await.unwrap();
        expire(&place, "a");
        b.take_over().await.unwrap().unwrap();
        place.sql("update quota_part set since = 1");
        b.slots(vec![owner("eve").want(1, 0)]).await.unwrap();
        assert_eq!(place.sql("select string_agg(name, ',') from quota"), "owner eve");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn i39_after_an_exchange_without_an_answer_each_limit_is_written_once() {
    let place = Place::shared();
    on_threads(async {
        let mut options = options(&place, "a", LONG);
        options.statement_timeout = Duration::from_millis(100);
        let a = PostgresNode::open(options).await.unwrap();
        let limits = ["one", "two"];
        let asked = |name: &str| vec![SlotsAsked::new(name, "all", Some(5))];
        for name in limits {
            a.slots(asked(name)).await.unwrap();
        }
        let sql = "begin; select 1 from quell.quota for update; select pg_sleep(600)";
        let mut other = place.server.session(&place.database, sql);
        let sleeps = "wait_event = 'PgSleep'";
        soon_in_real_time("it has the rows", || place.sessions(sleeps) == 1).await;
        let unanswered = a.slots(vec![asked("one").remove(0).want(1, 0)]).await;
        assert!(unanswered.is_err(), "{unanswered:?}");
        place.end_sessions(sleeps);
        other.wait().unwrap();
        for name in limits {
            let nr = || place.sql(&format!("select nr from quota_part where name = '{name}'"));
            let before = nr();
            a.slots(asked(name)).await.unwrap();
            let then = nr();
            assert_ne!(
                before, then,
                "what may still come of {name} has a number that is too small"
            );
            a.slots(asked(name)).await.unwrap();
            assert_eq!(nr(), then, "nothing is written for {name} any more");
        }
        a.close().await.unwrap();
    });
}
