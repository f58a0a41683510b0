//! What is so once somebody has said that a member is gone for good.

use std::sync::Arc;

use quell::{Engine, Recovery, Work};
use quell_core::store::{Record, Store as _, StoredHold};
use quell_core::{EventKind, RunId};
use quell_postgres::{NodeStanding, PostgresAdmin, PostgresNode};
use quell_test_support::within;

use crate::crew::{bare, engine, expire, join, on_threads, read};
use crate::fixture::Place;

/// A database with a member `b` that takes over, and one who says who is gone.
pub(crate) struct Scene<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) b: Arc<PostgresNode>,
    engine: Engine,
    admin: PostgresAdmin,
}

impl Scene<'static> {
    pub(crate) async fn new() -> Self {
        let place = Place::shared();
        let b = join(&place, "b").await;
        let engine = engine(&b);
        let admin = PostgresAdmin::open(place.options()).await.unwrap();
        Self { place, b, engine, admin }
    }
}

impl Scene<'_> {
    /// Has a member be gone, as its process or its host would be.
    pub(crate) async fn lose(&self, node: &PostgresNode, name: &str) {
        node.close().await.unwrap();
        expire(&self.place, name);
    }

    pub(crate) async fn take_over(&self) {
        while let Some(taken) = self.engine.take_over(|_| Recovery::Fail).await.unwrap() {
            assert!(taken.recovered.refused.is_empty(), "{taken:?}");
        }
    }

    /// Has a member join under a name, accept a run, and be gone. The run ends at `b`.
    pub(crate) async fn lost(&self, name: &str, run: RunId) {
        let node = join(&self.place, name).await;
        bare(&node, run).await.unwrap();
        self.lose(&node, name).await;
        self.take_over().await;
    }

    pub(crate) async fn is_quiescent(&self, run: RunId) -> bool {
        read(&*self.b, run).await.quiescent
    }

    pub(crate) async fn quiesces(&self, run: RunId) {
        let is_over = async {
            while !self.is_quiescent(run).await {
                tokio::task::yield_now().await;
            }
        };
        within("it quiesces", is_over).await;
    }

    /// Waits until `b` has looked: what another lost member had is released.
    pub(crate) async fn looks(&self) {
        let run = RunId::from_text("of another one");
        self.lost("other", run).await;
        assert_eq!(self.admin.forget("other").await, Ok(gone(1)));
        self.quiesces(run).await;
    }

    pub(crate) async fn forget(&self, name: &str) -> NodeStanding {
        self.admin.forget(name).await.unwrap()
    }

    pub(crate) async fn end(self) {
        self.b.close().await.unwrap();
    }
}

pub(crate) const fn gone(runs: u64) -> NodeStanding {
    NodeStanding::Gone { runs }
}

pub(crate) fn holds(record: &quell_core::store::RunRecord) -> Vec<(Work, &str)> {
    record.holds.iter().map(|hold| (hold.what, &*hold.name)).collect()
}

#[test]
fn i4_a_run_of_a_member_that_is_forgotten_quiesces_with_the_next_event_of_its_log() {
    on_threads(async {
        let (scene, run) = (Scene::new().await, RunId::from_text("r"));
        scene.lost("a", run).await;
        assert_eq!(holds(&read(&*scene.b, run).await), [(Work::Node, "a")]);
        assert_eq!(scene.admin.standing("a").await, Ok(gone(1)));
        assert!(!scene.is_quiescent(run).await);
        assert_eq!(scene.forget("a").await, gone(1));
        scene.quiesces(run).await;
        let events = scene.b.events(run, 0, 100).await.unwrap();
        let events: Vec<_> = events.into_iter().map(|event| event.unwrap()).collect();
        let seqs: Vec<_> = events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
        let quiesced = events.iter().filter(|event| event.kind == EventKind::Quiesced);
        assert_eq!(quiesced.count(), 1, "{events:?}");
        assert_eq!(events.last().unwrap().kind, EventKind::Quiesced);
        scene.looks().await;
        assert_eq!(scene.forget("a").await, gone(0), "nothing is left to release");
        assert_eq!(scene.place.sql("select count(*) from hold"), "0");
        scene.end().await;
    });
}

#[test]
fn a_member_that_is_live_or_connected_is_forgotten_by_nobody_and_one_that_never_was_is_unknown() {
    on_threads(async {
        let scene = Scene::new().await;
        let a = join(&scene.place, "a").await;
        bare(&a, RunId::from_text("r")).await.unwrap();
        let live = scene.forget("a").await;
        let NodeStanding::Live { lease_left: Some(_), process: Some(process) } = &live else {
            panic!("{live:?}")
        };
        assert!(process.contains("quell"), "{process}");
        // A process that hangs is not gone.
        expire(&scene.place, "a");
        let hangs = scene.forget("a").await;
        assert!(matches!(hangs, NodeStanding::Live { lease_left: None, .. }), "{hangs:?}");
        assert_eq!(scene.forget("nobody").await, NodeStanding::Unknown);
        assert_eq!(scene.place.sql("select count(*) from forgotten"), "0");
        a.close().await.unwrap();
        scene.end().await;
    });
}

#[test]
fn who_joins_under_the_name_of_a_forgotten_member_is_another_one() {
    on_threads(async {
        let scene = Scene::new().await;
        let (first, later) = (RunId::from_text("first"), RunId::from_text("later"));
        scene.lost("a", first).await;
        assert_eq!(scene.forget("a").await, gone(1));
        scene.quiesces(first).await;
        scene.lost("a", later).await;
        scene.looks().await;
        assert!(!scene.is_quiescent(later).await, "nobody has said so of that one");
        assert_eq!(scene.forget("a").await, gone(1));
        scene.quiesces(later).await;
        scene.end().await;
    });
}

#[test]
fn a_member_that_is_forgotten_before_it_is_taken_over_from_is_in_doubt_for_a_moment_alone() {
    on_threads(async {
        let (scene, run) = (Scene::new().await, RunId::from_text("r"));
        let a = join(&scene.place, "a").await;
        bare(&a, run).await.unwrap();
        scene.lose(&a, "a").await;
        assert_eq!(scene.forget("a").await, gone(1));
        scene.take_over().await;
        scene.quiesces(run).await;
        scene.end().await;
    });
}

#[test]
fn programs_of_a_forgotten_member_have_ended_with_it_and_services_have_not() {
    on_threads(async {
        let scene = Scene::new().await;
        let (program, service) = (RunId::from_text("program"), RunId::from_text("service"));
        let a = join(&scene.place, "a").await;
        for (run, what) in [(program, Work::Process), (service, Work::Remote)] {
            let epoch = bare(&a, run).await.unwrap();
            let hold = StoredHold::new(0, what, "it".into());
            a.append(vec![Record::HoldBegan { run, epoch, hold }]).await.unwrap();
        }
        scene.lose(&a, "a").await;
        scene.take_over().await;
        assert_eq!(scene.forget("a").await, gone(2));
        scene.quiesces(program).await;
        scene.looks().await;
        let left = read(&*scene.b, service).await;
        assert_eq!((holds(&left), left.quiescent), (vec![(Work::Remote, "it")], false));
        scene.end().await;
    });
}

#[test]
fn i4_what_a_member_had_in_its_process_has_ended_when_it_comes_back_and_its_programs_have_not() {
    on_threads(async {
        let scene = Scene::new().await;
        let (run, program) = (RunId::from_text("r"), RunId::from_text("program"));
        let a = join(&scene.place, "a").await;
        bare(&a, run).await.unwrap();
        let epoch = bare(&a, program).await.unwrap();
        let hold = StoredHold::new(0, Work::Process, "it".into());
        a.append(vec![Record::HoldBegan { run: program, epoch, hold }]).await.unwrap();
        scene.lose(&a, "a").await;
        scene.take_over().await;
        assert!(!scene.is_quiescent(run).await);
        let again = join(&scene.place, "a").await;
        scene.quiesces(run).await;
        scene.looks().await;
        let left = read(&*scene.b, program).await;
        assert_eq!((holds(&left), left.quiescent), (vec![(Work::Process, "it")], false));
        again.close().await.unwrap();
        scene.end().await;
    });
}

#[test]
fn what_has_ended_at_a_member_that_is_gone_as_well_another_one_releases() {
    on_threads(async {
        let (scene, run) = (Scene::new().await, RunId::from_text("r"));
        let (a, c) = (join(&scene.place, "a").await, join(&scene.place, "c").await);
        bare(&a, run).await.unwrap();
        scene.lose(&a, "a").await;
        {
            let engine = engine(&c);
            engine.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
        }
        scene.lose(&c, "c").await;
        assert_eq!(scene.forget("a").await, gone(1));
        scene.take_over().await;
        assert_eq!(scene.place.sql("select node from run"), "c", "it has ended there");
        scene.quiesces(run).await;
        scene.end().await;
    });
}

#[test]
fn what_a_member_of_the_release_before_has_taken_over_is_released_too() {
    on_threads(async {
        let (scene, run) = (Scene::new().await, RunId::from_text("r"));
        let a = join(&scene.place, "a\\b").await;
        let epoch = bare(&a, run).await.unwrap();
        let hold = StoredHold::new(0, Work::Process, "it".into());
        a.append(vec![Record::HoldBegan { run, epoch, hold }]).await.unwrap();
        a.close().await.unwrap();
        scene.place.sql("update node set lease_until = now() where name like 'a%'");
        scene.take_over().await;
        scene.place.sql("update hold set member = null, boot = null");
        assert_eq!(scene.forget("a\\b").await, gone(1));
        scene.quiesces(run).await;
        scene.end().await;
    });
}

#[test]
fn what_is_named_late_has_ended_with_a_member_that_comes_back_or_is() {
    on_threads(async {
        let scene = Scene::new().await;
        let [left, back] = ["left", "back"].map(RunId::from_text);
        scene.lost("a", left).await;
        scene.lost("c", back).await;
        // As a release long ago has noted it.
        scene.place.sql("update hold set member = null, boot = null");
        let again = join(&scene.place, "c").await;
        // Somebody says of another one that it is gone, and those that are left are named.
        scene.looks().await;
        scene.quiesces(back).await;
        assert!(!scene.is_quiescent(left).await);
        let a = join(&scene.place, "a").await;
        scene.quiesces(left).await;
        a.close().await.unwrap();
        again.close().await.unwrap();
        scene.end().await;
    });
}

#[test]
fn i39_a_name_that_was_forgotten_long_ago_leaves_when_nobody_needs_it_any_more() {
    on_threads(async {
        let scene = Scene::new().await;
        let [first, second, third] = ["1", "2", "3"].map(RunId::from_text);
        let names = || scene.place.sql("select string_agg(name, ' ' order by name) from forgotten");
        scene.lost("a", first).await;
        assert_eq!(scene.forget("a").await, gone(1));
        scene.quiesces(first).await;
        scene.lost("b2", second).await;
        // Nobody has taken over from it yet.
        let node = join(&scene.place, "c").await;
        bare(&node, third).await.unwrap();
        scene.lose(&node, "c").await;
        assert_eq!(scene.forget("c").await, gone(1));
        assert_eq!(names(), "a c", "they are kept for a while");
        scene.place.sql("update forgotten set at = now() - interval '2 days'");
        assert_eq!(scene.forget("b2").await, gone(1));
        assert_eq!(names(), "b2 c");
        scene.take_over().await;
        scene.quiesces(third).await;
        scene.end().await;
    });
}
