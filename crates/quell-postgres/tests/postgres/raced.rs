//! What two members do to the same row in the same moment.

use std::sync::Arc;

use futures::future::join_all;
use quell_core::cluster::Cluster as _;
use quell_core::store::{Accepted, ClaimedKey, Record, Store as _};
use quell_core::{Annotations, Disposition, RunId, RunKind, RunStatus};
use quell_postgres::{PostgresNode, PostgresOptions};
use quell_test_support::records::{accept, at, end, epoch};
use quell_test_support::{eventually, within};

use crate::crew::{bare, join, on_threads, options, read, stop};
use crate::fixture::{Place, block_on};

/// The session that holds what a test has it hold.
const SLEEPS: &str = "wait_event = 'PgSleep'";

#[test]
fn a_key_that_is_claimed_anew_while_those_that_are_too_many_leave_stays() {
    let place = Place::shared();
    block_on(async {
        let store = place.open().await.unwrap();
        let (epoch, millis) = (epoch(&store), 1_790_000_000_000_i64);
        // Those of runs that have left, the first one first.
        place.sql(&format!(
            "insert into claim
            select '', 'key ' || i, '\\x00', gen_random_uuid(), {millis} - 70000 + i
            from generate_series(1, 65600) i"
        ));
        // Another member claims the oldest one, and commits when this one waits for that.
        let waits = "pg_sleep(0.01) from pg_locks where not granted
            and pg_backend_pid() = any(pg_blocking_pids(pid))";
        let mut other = place.server.session(
            &place.database,
            &format!(
                "begin; update quell.claim set forgotten = null where key = 'key 1';
                do $$ begin while not exists (select {waits}) loop end loop; end $$; commit"
            ),
        );
        let began = || place.sessions("query ~ 'pg_blocking'") == 1;
        eventually("it has the key", || began().then_some(())).await;
        let run = RunId::from_text("r");
        let mut with_key = Accepted::new(run, RunKind::Agent, "a".into(), epoch, at());
        with_key.key = Some(ClaimedKey { key: "mine".into(), payload: [7; 32] });
        let leaves = Record::Forgotten { run, epoch, at: at() };
        let ended = end(run, epoch, RunStatus::Completed);
        store.append(vec![Record::Accepted(with_key.into()), ended, leaves]).await.unwrap();
        other.wait().unwrap();
        let left = place.sql("select key from claim where key in ('mine', 'key 1', 'key 2')");
        assert_eq!(left, "key 1\nmine");
        store.close().await.unwrap();
    });
}

#[test]
fn stops_for_a_member_that_is_being_taken_over_hold_up_no_stop_for_another_one() {
    let place = Place::shared();
    on_threads(async {
        let ([a, b, c], [of_a, of_c]) = three(&place).await;
        // As a take-over has it for as long as it moves many runs.
        let mut taking = place.server.session(
            &place.database,
            "begin; select 1 from quell.node where name = 'a' for update; select pg_sleep(600)",
        );
        eventually("it has the row", || (place.sessions(SLEEPS) == 1).then_some(())).await;
        let wait: Vec<_> = (0..8)
            .map(|_| {
                let b = Arc::clone(&b);
                tokio::spawn(async move { b.ask(of_a.into(), stop("ada")).await })
            })
            .collect();
        for answer in join_all((0..3).map(|_| b.ask(of_c.into(), stop("ada")))).await {
            let answer = answer.unwrap();
            assert!(matches!(&answer, Disposition::Recorded { owner, .. } if &**owner == "c"));
        }
        place.end_sessions(SLEEPS);
        taking.wait().unwrap();
        for asked in wait {
            let answer = asked.await.unwrap().unwrap();
            assert!(matches!(&answer, Disposition::Recorded { owner, .. } if &**owner == "a"));
        }
        for member in [a, b, c] {
            member.close().await.unwrap();
        }
    });
}

#[test]
fn stops_of_a_run_that_its_owner_is_writing_wait_for_nothing_and_hold_up_no_other() {
    let place = Place::shared();
    on_threads(async {
        let ([a, b, c], [of_a, of_c]) = three(&place).await;
        // As a member has it that was frozen before it has sent its COMMIT.
        let mut writing = place.server.session(
            &place.database,
            "begin; update quell.run set epoch = epoch; select pg_sleep(600)",
        );
        eventually("it has the rows", || (place.sessions(SLEEPS) == 1).then_some(())).await;
        let asked = [of_a, of_a, of_a, of_a, of_c, of_c].map(|run| b.ask(run.into(), stop("ada")));
        for (nth, answer) in join_all(asked).await.into_iter().enumerate() {
            let whose = if nth < 4 { "a" } else { "c" };
            assert!(
                matches!(&answer, Ok(Disposition::Recorded { owner, .. }) if &**owner == whose),
                "{answer:?}"
            );
        }
        place.end_sessions(SLEEPS);
        writing.wait().unwrap();
        for member in [a, b, c] {
            member.close().await.unwrap();
        }
    });
}

#[test]
fn i34_a_stop_that_is_asked_for_while_its_run_is_given_up_goes_with_it() {
    // Before it is looked who has the run, but for what the statement sees; and behind that. With
    // the run as the statement sees it, and written once more by then.
    let moments = ["statement", "row"].map(|moment| [(moment, false), (moment, true)]);
    for (within_put, is_written) in moments.into_iter().flatten() {
        let place = Place::shared();
        on_threads(async {
            let [a, b] = [patient(&place, "a").await, patient(&place, "b").await];
            let run = RunId::from_text("waits");
            a.append(vec![accept(run, epoch(&*a))]).await.unwrap();
            place.sql(&format!(
                "create function quell.waits() returns trigger language plpgsql as $$ begin
                    perform pg_advisory_xact_lock(7); return new; end $$;
                create trigger waits before insert on stop
                    for each {within_put} execute function quell.waits()"
            ));
            let hold = "select pg_advisory_lock(7); select pg_sleep(600)";
            let mut holder = place.server.session(&place.database, hold);
            let lock_is_awaited =
                |of: &str| place.sessions(&format!("wait_event_type = 'Lock' and {of}")) > 0;
            eventually("it has the lock", || (place.sessions(SLEEPS) == 1).then_some(())).await;
            let by = Arc::clone(&b);
            let ask = tokio::spawn(async move { by.ask(run.into(), stop("ada")).await });
            let is_held_up = || lock_is_awaited("wait_event = 'advisory'");
            let is_asked = || (ask.is_finished() || is_held_up()).then_some(());
            eventually("it asks", is_asked).await;
            assert!(!ask.is_finished(), "nothing has held it up: {:?}", ask.await);
            if is_written {
                let annotations = Annotations::from([("why".into(), "so".into())]);
                let written = Record::Annotated { run, epoch: epoch(&*a), annotations };
                within("nothing holds it up", a.append(vec![written])).await.unwrap();
            }
            let by = Arc::clone(&a);
            let release = tokio::spawn(async move { by.release(vec![run]).await });
            let waits = || lock_is_awaited("query like '%update run set node%'");
            let is_under_way = || (release.is_finished() || waits()).then_some(());
            eventually("it gives the run up", is_under_way).await;
            place.end_sessions(SLEEPS);
            holder.wait().unwrap();
            assert_eq!(within("it is given up", release).await.unwrap(), Ok(()));
            let answer = within("it is asked", ask).await.unwrap();
            assert!(matches!(answer, Ok(Disposition::Recorded { .. })), "{answer:?}");
            let other = "select s.owner from stop s join run r on r.id = s.run
                where s.owner <> r.node";
            assert_eq!(place.sql(other), "", "asked of another one, {within_put}");
            let has_stop = async {
                while read(&*b, run).await.stop.is_none() {
                    b.take_over().await.unwrap();
                }
            };
            within("it is taken over with its stop", has_stop).await;
            for member in [a, b] {
                member.close().await.unwrap();
            }
        });
    }
}

/// Three members, and a run of the first one and of the last one.
async fn three(place: &Place<'_>) -> ([Arc<PostgresNode>; 3], [RunId; 2]) {
    let [a, b, c] = [join(place, "a").await, join(place, "b").await, join(place, "c").await];
    let [of_a, of_c] = ["of a", "of c"].map(RunId::from_text);
    bare(&a, of_a).await.unwrap();
    bare(&c, of_c).await.unwrap();
    ([a, b, c], [of_a, of_c])
}

/// A member that gives nothing up while a test looks what it waits for, however slow that is: no
/// limit is shorter than the patience of the test, and that of an idle transaction is a part of the
/// lease.
async fn patient(place: &Place<'_>, name: &str) -> Arc<PostgresNode> {
    let mut options = options(place, name, PostgresOptions::LEASE_MAX);
    let long = PostgresOptions::LEASE_MAX;
    (options.connect_timeout, options.statement_timeout) = (long, long);
    Arc::new(PostgresNode::open(options).await.unwrap())
}
