//! Members of a cluster: who has a run, and what happens to those of a member that is gone.

use std::time::SystemTime;

use quell::{CauseKind, Disposition, Recovery, RunStatus, SubmitError, Work};
use quell_core::cluster::Cluster as _;
use quell_core::store::{Page, Record, RunRecord, Store, StoreError};
use quell_core::{RunFilter, RunId};
use quell_postgres::{PostgresNode, PostgresStore};
use quell_test_support::records::{end, epoch};
use quell_test_support::within;

use crate::crew::{LONG, bare, engine, expire, join, listener, live, on_threads, options, read};
use crate::fixture::{Place, block_on};

fn run(name: &str) -> RunId {
    RunId::from_text(name)
}

fn never(_: &RunRecord) -> Recovery {
    panic!("nothing is decided here")
}

fn lost(name: &str) -> StoreError {
    StoreError::LeaseLost { node: name.into() }
}

#[test]
fn two_live_members_of_one_name_are_refused_and_two_of_two_names_are_not() {
    let place = Place::shared();
    block_on(async {
        let a = join(&place, "a").await;
        let error = PostgresNode::open(options(&place, "a", LONG)).await.unwrap_err();
        let StoreError::InUse { by } = &error else { panic!("{error:?}") };
        assert!(by.contains(&format!("quell, process {}", std::process::id())), "{by}");
        let b = join(&place, "b").await;
        assert!(b.boot() > a.boot());
        // Nor is a store that is alone, although the lease is over.
        expire(&place, "a");
        expire(&place, "b");
        let error = place.open().await.unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn a_store_that_is_alone_and_members_keep_each_other_out() {
    let place = Place::shared();
    block_on(async {
        let alone = place.open().await.unwrap();
        let error = PostgresNode::open(options(&place, "a", LONG)).await.unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
        bare_alone(&alone, run("its own")).await;
        alone.close().await.unwrap();
        // What it had belongs to the first member, and with a lease it is refused.
        let a = join(&place, "a").await;
        assert_eq!(owned(&a).await, [run("its own")]);
        a.close().await.unwrap();
        let error = place.open().await.unwrap_err();
        let StoreError::InUse { by } = &error else { panic!("{error:?}") };
        assert_eq!(by, "node a, which has a lease");
        expire(&place, "a");
        let alone = place.open().await.unwrap();
        let page = alone.recover(Page::first(9)).await.unwrap();
        assert_eq!(page.items.len(), 1, "it has what all of them had");
        assert_eq!(place.sql("select count(*) from node where name <> ''"), "0");
        alone.close().await.unwrap();
    });
    for name in [String::new(), "x".repeat(256), "a\0b".into(), "a (drained)".into()] {
        let error = block_on(PostgresNode::open(options(&place, &name, LONG))).unwrap_err();
        assert!(matches!(error, StoreError::Options { .. }), "{error:?}");
    }
    for (error, advice) in [
        (
            block_on(PostgresNode::open(place.options())).unwrap_err(),
            "set `options.node`, or open a `PostgresStore`",
        ),
        (
            block_on(PostgresStore::open(options(&place, "a", LONG))).unwrap_err(),
            "open a `PostgresNode`, or name none",
        ),
    ] {
        let is_of_options = matches!(error, StoreError::Options { .. });
        assert!(is_of_options && error.to_string().ends_with(advice), "{error:?}");
    }
}

async fn bare_alone(store: &PostgresStore, run: RunId) {
    let accepted = quell_test_support::records::accept(run, epoch(store));
    store.append(vec![accepted]).await.unwrap();
}

async fn owned(node: &PostgresNode) -> Vec<RunId> {
    let page = node.recover(Page::first(99)).await.unwrap();
    page.items.iter().map(|run| run.as_ref().map(RunRecord::run).unwrap()).collect()
}

#[test]
fn a_member_recovers_its_own_runs_and_sees_all() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        bare(&a, run("of a")).await.unwrap();
        let epoch = bare(&b, run("of b")).await.unwrap();
        bare(&b, run("ended")).await.unwrap();
        b.append(vec![end(run("ended"), epoch, RunStatus::Completed)]).await.unwrap();
        assert_eq!((owned(&a).await, owned(&b).await), (vec![run("of a")], vec![run("of b")]));
        for node in [&a, &b] {
            let all = node.list(RunFilter::new(), Page::first(9)).await.unwrap();
            assert_eq!(all.items.len(), 3);
            assert!(node.get(run("of a")).await.unwrap().is_some());
            let ended = node.ended(Page::first(9)).await.unwrap().items;
            assert_eq!(ended[0].as_ref().unwrap().root, run("ended"));
        }
        let one_sum = (a.bytes().await.unwrap(), b.bytes().await.unwrap());
        assert_eq!(one_sum.0, one_sum.1);
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn i35_a_member_that_was_taken_over_from_does_nothing_any_more() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let epoch = bare(&a, run("r")).await.unwrap();
        assert_eq!(b.take_over().await, Ok(None), "its lease is not over");
        expire(&place, "a");
        let bytes = b.bytes().await.unwrap();
        let taken = b.take_over().await.unwrap().unwrap();
        assert_eq!(&*taken.from, "a");
        let record = read(&*b, run("r")).await;
        assert!(b.boot() < record.epoch.boot() && record.epoch.boot() < taken.boot, "{record:?}");
        assert_eq!((record.epoch.attempt(), owned(&b).await), (1, vec![run("r")]));
        let holds: Vec<_> = record.holds.iter().map(|hold| (hold.what, &*hold.name)).collect();
        assert_eq!(holds, [(Work::Node, "a")], "it may execute it still");
        assert_eq!(b.bytes().await.unwrap(), bytes);
        assert_eq!(b.take_over().await, Ok(None), "once");
        let late = Record::Started { run: run("r"), epoch, at: SystemTime::now() };
        // Of a run that is new no epoch refuses it.
        assert_eq!(bare(&a, run("late")).await, Err(lost("a")));
        assert_eq!(a.append(vec![late]).await, Err(lost("a")));
        assert_eq!(a.renew().await, Err(lost("a")));
        assert_eq!(a.take_over().await, Err(lost("a")));
        assert_eq!(a.ask(run("r").into(), crate::crew::stop("ada")).await, Err(lost("a")));
        assert_eq!(owned(&a).await, []);
        assert_eq!(b.get(run("late")).await, Ok(None));
        b.renew().await.unwrap();
        // As when somebody has joined under its name, and its session has lost the lock to that.
        place.sql("update node set joined = joined + 1 where name = 'b'");
        assert_eq!(bare(&b, run("late")).await, Err(lost("b")));
        assert_eq!(b.renew().await, Err(lost("b")));
        assert_eq!(place.sql("select count(*) from run"), "1");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn who_joins_under_the_name_of_a_member_has_what_that_one_had_whatever_its_lease() {
    let place = Place::shared();
    on_threads(async {
        let node = join(&place, "a").await;
        let a = engine(&node);
        let far = live(&a, "far").await;
        // As if it had lost its connections: it goes on, and others get its name.
        node.close().await.unwrap();
        let again = join(&place, "a").await;
        let next = engine(&again);
        assert_eq!(next.recover(|_| Recovery::Fail).await.unwrap().ended.failed, 1);
        assert_eq!(read(&*again, far.id()).await.status, RunStatus::Failed);
        again.close().await.unwrap();
    });
}

#[test]
fn a_member_that_finds_itself_taken_over_stops_all_of_its_runs() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let (a, b) = (engine(&node_a), engine(&node_b));
        let far = live(&a, "far").await;
        let taken = loop {
            // It renews meanwhile.
            expire(&place, "a");
            if let Some(taken) = b.take_over(|_| Recovery::Fail).await.unwrap() {
                break taken;
            }
        };
        assert_eq!((taken.from.as_deref(), taken.recovered.ended.failed), (Some("a"), 1));
        let record = read(&*node_b, far.id()).await;
        assert_eq!((record.status, record.quiescent), (RunStatus::Failed, false));
        let row = record.report.unwrap().own_row().clone();
        let named: Vec<_> = row.abandoned.iter().map(|it| (it.what, &*it.name)).collect();
        assert_eq!(named, [(Work::Node, "a")]);
        within("it is told", a.lease_lost()).await;
        within("its run ends", far.quiescent()).await;
        assert_eq!(far.row().cause.unwrap().kind, CauseKind::LeaseLost);
        let refused = a.submit(quell::RunSpec::agent("late"), listener).unwrap_err();
        assert_eq!(refused, SubmitError::NotStored(lost("a")));
        let own = live(&b, "its own, with the next boot").await;
        b.cancel(own.id(), crate::crew::stop("ada"));
        within("it ends", own.quiescent()).await;
        own.stored().await.unwrap();
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}

#[test]
fn a_member_that_shuts_down_gives_its_lease_back_at_once() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let (a, b) = (engine(&node_a), engine(&node_b));
        assert!(b.take_over(never).await.unwrap().is_none());
        within("it ends", a.shutdown(std::time::Duration::ZERO)).await;
        let taken = b.take_over(never).await.unwrap().unwrap();
        assert_eq!(taken.from.as_deref(), Some("a"));
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}

#[test]
fn i34_a_stop_that_a_lost_member_never_answered_ends_its_run_with_that_cause() {
    let place = Place::shared();
    on_threads(async {
        let (a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let b = engine(&node_b);
        // No engine reads what is asked of it.
        bare(&a, run("far")).await.unwrap();
        let asked = b.cancel_anywhere(run("far"), crate::crew::stop("ada")).await.unwrap();
        let Disposition::Recorded { owner, lease_until } = asked else { panic!("{asked:?}") };
        assert!(&*owner == "a" && lease_until > SystemTime::now(), "{lease_until:?}");
        let again = b.cancel_anywhere(run("far"), crate::crew::stop("bob").abort()).await;
        assert!(matches!(again, Ok(Disposition::Recorded { .. })), "{again:?}");
        expire(&place, "a");
        let taken = b.take_over(never).await.unwrap().unwrap();
        assert_eq!(taken.recovered.ended.cancelled, 1);
        let report = read(&*node_b, run("far")).await.report.unwrap();
        assert_eq!(report.cause.as_ref().unwrap().by.as_deref(), Some("ada"));
        // Its new owner answers both.
        let is_answered = || place.sql("select count(*) from stop where answer is null") == "0";
        quell_test_support::soon("they are answered", is_answered).await;
        // The first one has ended the run.
        let answers = place.sql("select answer::json->>'disposition' from stop order by nr");
        assert_eq!(
            answers.split_whitespace().collect::<Vec<_>>(),
            ["accepted", "already-terminal"]
        );
        a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}

#[test]
fn i34_a_stop_that_a_process_never_answered_is_that_of_its_run_when_its_name_comes_back() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        bare(&a, run("far")).await.unwrap();
        let asked = b.ask(run("far").into(), crate::crew::stop("ada").rollback()).await.unwrap();
        assert!(matches!(asked, Disposition::Recorded { .. }), "{asked:?}");
        let page = a.recover(Page::first(9)).await.unwrap();
        let waits = page.items[0].as_ref().unwrap().stop.clone().unwrap();
        assert_eq!(waits.cause.by.as_deref(), Some("ada"), "it waits for the one that is asked");
        a.close().await.unwrap();
        let again = join(&place, "a").await;
        let record = read(&*again, run("far")).await;
        assert!(record.epoch.boot() < again.boot(), "it is that of nobody who writes");
        assert!(record.holds.is_empty(), "the process that had it is gone");
        let stop = record.stop.unwrap();
        assert_eq!((stop.cause.by.as_deref(), stop.rollback), (Some("ada"), true));
        assert_eq!(again.inbox(Vec::new()).await.unwrap().len(), 1, "it answers");
        again.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn what_executes_of_a_tree_that_has_ended_its_owner_alone_is_told() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let epoch = bare(&a, run("r")).await.unwrap();
        a.append(vec![end(run("r"), epoch, RunStatus::Completed)]).await.unwrap();
        place.sql("update run set quiescent = false");
        let told =
            async |node: &PostgresNode| node.ended(Page::first(9)).await.unwrap().items.len();
        assert_eq!((told(&a).await, told(&b).await), (1, 0));
        expire(&place, "a");
        b.take_over().await.unwrap().unwrap();
        assert_eq!(told(&b).await, 1, "its owner is gone");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn what_a_take_over_took_whose_answer_was_lost_is_yielded_by_the_next_call() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        bare(&a, run("r")).await.unwrap();
        // As a take-over leaves it.
        let next = place.sql("update meta set boot = boot + 2 returning boot");
        place.sql(&format!(
            "update node set boot = {next}, took_from = 'a' where name = 'b';
            update run set node = 'b', epoch = ({next}::int8 - 1) << 32 | 1;
            delete from node where name = 'a'"
        ));
        let taken = b.take_over().await.unwrap().unwrap();
        assert_eq!((&*taken.from, taken.boot.to_string()), ("a", next));
        assert_eq!(b.take_over().await, Ok(None));
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn what_was_rolled_back_and_is_to_be_forgotten_is_taken_over_too() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        bare(&a, run("rolled back")).await.unwrap();
        place.sql("update run set status = 5, stop_rollback = true");
        expire(&place, "a");
        b.take_over().await.unwrap().unwrap();
        assert_eq!(owned(&b).await, [run("rolled back")]);
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn no_transaction_of_a_member_waits_for_one_of_another() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        // As long as somebody else has the row of its tally, no transaction of this one ends.
        let held = place.server.session(
            &place.database,
            "begin; update quell.tally set bytes = bytes where name = 'a'; select pg_sleep(60)",
        );
        let sleeps = "wait_event = 'PgSleep'";
        while place.sessions(sleeps) == 0 {}
        let append = bare(&a, run("of a"));
        let mut append = std::pin::pin!(append);
        assert!(futures::poll!(&mut append).is_pending());
        for nth in 0..20 {
            bare(&b, run(&format!("of b {nth}"))).await.unwrap();
            a.renew().await.unwrap();
        }
        assert!(futures::poll!(&mut append).is_pending());
        let mut held = held;
        held.kill().unwrap();
        held.wait().unwrap();
        place.end_sessions(sleeps);
        within("it is stored", append).await.unwrap();
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn ten_thousand_live_runs_are_taken_over_in_one_step() {
    let place = Place::shared();
    block_on(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        place.sql(&format!(
            "insert into run (id, root, node, epoch, kind, name, at, bytes, status)
            select gen_random_uuid(), case when nr % 2 = 0 then gen_random_uuid() end, 'a',
                ({}::int8 << 32) | (1 + nr % 3), 'agent', 'a run', 1790000000000, 100, 1
            from generate_series(1, 10000) nr",
            a.boot()
        ));
        expire(&place, "a");
        let began = std::time::Instant::now();
        let taken = b.take_over().await.unwrap().unwrap();
        println!("10000 live runs were taken over in {:?}", began.elapsed());
        let count = place.sql(&format!(
            "select count(*), count(distinct epoch & 4294967295) from run
            where node = 'b' and epoch >> 32 = {}",
            taken.boot - 1
        ));
        assert_eq!(count, "10000|3");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}
