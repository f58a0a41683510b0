//! What is so once a member that has come back says what it knows of the programs that processes
//! before it have left.

use std::collections::HashSet;
use std::sync::Arc;

use quell::Work;
use quell_core::cluster::{Cluster as _, ForgottenWork};
use quell_core::store::{Page, Record, Store as _, StoreError, StoredHold};
use quell_core::{EventKind, RunId, limits};
use quell_postgres::{PostgresNode, PostgresReader};
use quell_test_support::{eventually, within};
use tokio::task::yield_now;

use crate::crew::{bare, engine, expire, join, on_threads, read};
use crate::fixture::Place;
use crate::forgotten::{Scene, gone, holds};

/// Has a member begin a program of a run that it accepts.
async fn begin(node: &PostgresNode, run: RunId) {
    let epoch = bare(node, run).await.unwrap();
    let hold = StoredHold::new(0, Work::Process, "make".into());
    node.append(vec![Record::HoldBegan { run, epoch, hold }]).await.unwrap();
}

/// Has a member join under a name, begin a program, and be gone.
async fn lost(place: &Place<'_>, name: &str, run: RunId) {
    let node = join(place, name).await;
    begin(&node, run).await;
    lose(place, &node, name).await;
}

async fn lose(place: &Place<'_>, node: &PostgresNode, name: &str) {
    node.close().await.unwrap();
    expire(place, name);
}

/// Yields the work that a member is told to have ended, of the next run of which it is.
async fn told(node: &Arc<PostgresNode>) -> Vec<ForgottenWork> {
    within("it hears", node.forgotten()).await.unwrap()
}

#[test]
fn i4_programs_of_a_member_that_is_back_have_ended_when_it_says_so_and_not_before() {
    on_threads(async {
        let (scene, run) = (Scene::new().await, RunId::from_text("r"));
        lost(&scene.place, "a", run).await;
        scene.take_over().await;
        let again = join(&scene.place, "a").await;
        scene.looks().await;
        assert_eq!(holds(&read(&*scene.b, run).await), [(Work::Process, "make")]);
        again.programs_before(true).await.unwrap();
        scene.quiesces(run).await;
        let events = scene.b.events(run, 0, 100).await.unwrap();
        assert_eq!(events.last().unwrap().as_ref().unwrap().kind, EventKind::Quiesced);
        // Once more is no harm.
        again.programs_before(true).await.unwrap();
        eventually("it is released", || {
            (scene.place.sql("select count(*) from hold") == "0").then_some(())
        })
        .await;
        again.close().await.unwrap();
        scene.end().await;
    });
}

#[test]
fn what_a_member_is_in_doubt_of_no_later_process_knows_although_others_take_over_between() {
    on_threads(async {
        let scene = Scene::new().await;
        let [first, own, later] = ["first", "own", "later"].map(RunId::from_text);
        lost(&scene.place, "a", first).await;
        scene.take_over().await;
        lost(&scene.place, "a", own).await;
        // It has the run of the process before, with its program, and begins one itself.
        let again = join(&scene.place, "a").await;
        again.programs_before(false).await.unwrap();
        {
            let engine = engine(&again);
            engine.recover(|_| quell::Recovery::Fail).await.unwrap();
        }
        begin(&again, later).await;
        lose(&scene.place, &again, "a").await;
        scene.take_over().await;
        assert_eq!(scene.place.sql("select string_agg(name, ',') from node"), "b");
        let third = join(&scene.place, "a").await;
        third.programs_before(true).await.unwrap();
        scene.quiesces(later).await;
        let doubted = "select count(*) from hold where what = 'process' and fate = 2";
        assert_eq!(scene.place.sql(doubted), "2", "each is that of the process that began it");
        scene.looks().await;
        for run in [first, own] {
            let left = read(&*scene.b, run).await;
            assert_eq!((holds(&left), left.quiescent), (vec![(Work::Process, "make")], false));
        }
        // An operator knows.
        lose(&scene.place, &third, "a").await;
        scene.take_over().await;
        assert_eq!(scene.forget("a").await, gone(2));
        scene.quiesces(first).await;
        scene.quiesces(own).await;
        scene.end().await;
    });
}

#[test]
fn what_a_member_has_said_that_is_gone_again_holds_for_whoever_has_the_run_later() {
    let place = Place::shared();
    on_threads(async {
        let run = RunId::from_text("r");
        lost(&place, "a", run).await;
        let b = join(&place, "b").await;
        assert!(b.take_over().await.unwrap().is_some());
        let again = join(&place, "a").await;
        again.programs_before(true).await.unwrap();
        lose(&place, &again, "a").await;
        lose(&place, &b, "b").await;
        let c = join(&place, "c").await;
        while c.take_over().await.unwrap().is_some() {}
        assert_eq!(place.sql("select string_agg(name, ',') from node"), "c");
        // The program, and what the process of that name might have executed.
        assert_eq!(told(&c).await, [ForgottenWork { run, holds: vec![0, 1] }]);
        c.close().await.unwrap();
    });
}

#[test]
fn a_member_that_has_its_own_run_again_hears_of_the_program_that_it_had_begun_before() {
    let place = Place::shared();
    on_threads(async {
        let (run, own) = (RunId::from_text("r"), RunId::from_text("own"));
        lost(&place, "a", run).await;
        let b = join(&place, "b").await;
        assert!(b.take_over().await.unwrap().is_some());
        lose(&place, &b, "b").await;
        let again = join(&place, "a").await;
        assert!(again.take_over().await.unwrap().is_some());
        begin(&again, own).await;
        again.programs_before(true).await.unwrap();
        let mut work = told(&again).await;
        while work.iter().all(|it| !it.holds.contains(&0)) {
            yield_now().await;
            work = told(&again).await;
        }
        // The program, and the process that was lost under this name.
        assert_eq!(work, [ForgottenWork { run, holds: vec![0, 1] }]);
        let recovered = again.recover(Page::first(9)).await.unwrap().items.len();
        assert_eq!(recovered, 2, "its own program is not meant");
        again.close().await.unwrap();
    });
}

#[test]
fn a_member_that_is_back_is_told_of_all_of_its_runs_however_many_they_are() {
    let place = Place::shared();
    on_threads(async {
        lost(&place, "a", RunId::from_text("r")).await;
        let more = "with more as (
                insert into run (id, epoch, kind, name, at, status, bytes, node)
                select gen_random_uuid(), epoch, kind, name, at, status, bytes, node
                from run, generate_series(1, 2000) returning ord)
            insert into hold (run, nr, what, name) select ord, 0, 'process', 'make' from more";
        place.sql(more);
        let again = join(&place, "a").await;
        let own = again.programs_before(true).await.unwrap();
        let runs: HashSet<_> = own.iter().map(|work| work.run).collect();
        assert_eq!((own.len(), runs.len()), (2_001, 2_001));
        assert_eq!(told(&again).await.len(), limits::STORE_PAGE_MAX);
        again.close().await.unwrap();
    });
}

#[test]
fn what_is_in_doubt_because_of_a_member_is_counted_with_it_and_as_lost_unless_it_is_live() {
    on_threads(async {
        let (scene, run) = (Scene::new().await, RunId::from_text("r"));
        let reader = PostgresReader::open(scene.place.options()).await.unwrap();
        // Of members their names, whether they were drained, and how many runs are in doubt.
        let told = async || {
            let nodes = reader.nodes(None, 9).await.unwrap().into_iter();
            let nodes = nodes.map(|it| (it.name.unwrap().to_string(), it.is_drained, it.in_doubt));
            let lost = reader.lost_nodes(None, 9).await.unwrap().into_iter();
            (nodes.collect(), lost.map(|it| (it.name.to_string(), it.runs)).collect())
        };
        let stands = async |a: Option<(bool, u64)>, lost: u64| {
            let (nodes, of_lost): (Vec<_>, Vec<_>) = told().await;
            let a = a.map(|(is_drained, runs)| ("a".to_owned(), is_drained, runs));
            let b = ("b".to_owned(), false, 0);
            assert_eq!(nodes, a.into_iter().chain([b]).collect::<Vec<_>>());
            let lost = Some(("a".to_owned(), lost)).filter(|_| lost > 0);
            assert_eq!(of_lost, Vec::from_iter(lost));
        };
        lost(&scene.place, "a", run).await;
        stands(Some((false, 0)), 0).await;
        scene.take_over().await;
        stands(None, 1).await;
        let again = join(&scene.place, "a").await;
        stands(Some((false, 1)), 0).await;
        again.programs_before(false).await.unwrap();
        stands(Some((false, 1)), 0).await;
        // Of what it had begun itself nothing is left.
        again.leave(true).await.unwrap();
        stands(Some((true, 1)), 1).await;
        again.close().await.unwrap();
        assert_eq!(scene.forget("a").await, gone(1));
        stands(Some((true, 0)), 0).await;
        scene.quiesces(run).await;
        scene.end().await;
    });
}

#[test]
fn who_was_taken_over_from_says_nothing_of_programs() {
    on_threads(async {
        let (scene, run) = (Scene::new().await, RunId::from_text("r"));
        lost(&scene.place, "a", run).await;
        scene.take_over().await;
        let again = join(&scene.place, "a").await;
        expire(&scene.place, "a");
        scene.take_over().await;
        let said = again.programs_before(true).await;
        assert_eq!(said, Err(StoreError::LeaseLost { node: "a".into() }));
        assert_eq!(
            scene
                .place
                .sql("select count(*) from hold where what = 'process' and fate is not null"),
            "0"
        );
        let _ = again.close().await;
        scene.end().await;
    });
}

#[test]
fn what_cannot_be_released_yet_holds_up_no_other_work() {
    on_threads(async {
        let place = Place::shared();
        let b = join(&place, "b").await;
        place.sql(
            "with made as (
                insert into run (id, epoch, kind, name, at, status, bytes, node)
                select gen_random_uuid(), 1, 'agent', 'a', 1, 1, 1, 'b'
                from generate_series(1, 1001) returning ord)
            insert into hold (run, nr, what, name, member, boot, fate)
            select ord, 0, 'node', 'a', 'a', 1, 1 from made",
        );
        let [first, second, third] =
            [b.forgotten().await, b.forgotten().await, b.forgotten().await].map(Result::unwrap);
        assert_eq!((first.len(), second.len(), third.len()), (1_000, 1, 1_000));
        assert!(!first.iter().any(|work| work.run == second[0].run));
        let of = |work: &[ForgottenWork]| work.iter().map(|work| work.run).collect::<Vec<_>>();
        assert_eq!(of(&third), of(&first), "all of it was told");
        b.close().await.unwrap();
    });
}

#[test]
fn what_other_members_have_of_a_page_holds_up_no_work_of_this_one() {
    on_threads(async {
        let place = Place::shared();
        let (b, c) = (join(&place, "b").await, join(&place, "c").await);
        place.sql(
            "with made as (
                insert into run (id, epoch, kind, name, at, status, bytes, node)
                select gen_random_uuid(), 1, 'agent', 'a', 1, 1, 1,
                    case when i % 1500 = 0 then 'b' else 'c' end
                from generate_series(1, 3000) i order by i returning ord)
            insert into hold (run, nr, what, name, member, boot, fate)
            select ord, nr, 'process', 'a', 'a', 1, case when ord % 2 = 0 then 1 end
            from made, generate_series(1, 2) nr",
        );
        place.sql("insert into forgotten (name, boot) values ('a', 1)");
        let of_b = [b.forgotten().await, b.forgotten().await].map(Result::unwrap);
        assert_eq!(of_b.each_ref().map(Vec::len), [1, 1]);
        assert_ne!(of_b[0][0].run, of_b[1][0].run);
        assert_eq!(of_b[0][0].holds, [1, 2]);
        assert_eq!(b.programs_before(true).await.unwrap().len(), 2);
        assert_eq!(c.programs_before(true).await.unwrap().len(), 2_998);
        b.close().await.unwrap();
        c.close().await.unwrap();
    });
}
