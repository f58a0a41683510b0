//! Stops that one member remembers for runs that another one will have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use quell::{CancelRequest, Disposition, Engine, RunSpec, RunStatus, StopScope};
use quell_core::cluster::{Asked, Cluster as _, StopToCome};
use quell_core::store::{Accepted, Epoch, Record, Store as _};
use quell_core::{RunId, limits};
use quell_test_support::records::{accept, end};
use quell_test_support::{soon, within};

use crate::crew::{bare, engine, expire, is_long, join, on_threads, read, stop};
use crate::fixture::Place;

fn early(by: &str) -> CancelRequest {
    stop(by).remember_for(Duration::from_mins(1))
}

fn run(name: &str) -> RunId {
    RunId::from_text(name)
}

fn to_come(run: RunId, by: &str, max: usize) -> StopToCome {
    StopToCome { run, scope: None, request: early(by), max, share_percent: 50 }
}

/// Submits a run whose body counts that it was polled, and waits for its end.
async fn begun(engine: &Engine, spec: RunSpec, polls: &Arc<AtomicUsize>) -> RunStatus {
    let polled = Arc::clone(polls);
    let body = async move |ctx: quell::RunContext| {
        polled.fetch_add(1, Ordering::SeqCst);
        ctx.stopped().await;
        Ok(())
    };
    let run = engine.submit_durably(spec, body).await.unwrap().into_ref();
    let report = within("it ends", run.quiescent()).await;
    run.stored().await.unwrap();
    report.status
}

#[test]
fn i22_a_stop_that_one_member_remembers_reaches_the_run_of_another_once() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let (a, b) = (engine(&node_a), engine(&node_b));
        let (id, polls) = (run("r"), Arc::default());
        assert_eq!(a.cancel_anywhere(id, early("ada")).await, Ok(Disposition::Reserved));
        assert_eq!(b.cancel_anywhere(id, early("bob")).await, Ok(Disposition::Reserved));
        assert_eq!(place.sql("select count(*) from reserved"), "1");
        assert_eq!(place.sql("select count(*) from run"), "0", "nobody sees how it looked");
        let status = begun(&b, RunSpec::agent("one").id(id), &polls).await;
        assert_eq!((status, polls.load(Ordering::SeqCst)), (RunStatus::Cancelled, 0));
        let cause = read(&*node_a, id).await.stop.unwrap().cause;
        assert_eq!(cause.by.as_deref(), Some("ada"), "the first cause stands (I6)");
        assert_eq!(place.sql("select count(*) from reserved"), "0");
        soon("it is answered", || {
            place.sql("select count(*) from stop where answer is not null") == "1"
        })
        .await;
        let over = Disposition::AlreadyTerminal { status: RunStatus::Cancelled };
        assert_eq!(a.cancel_anywhere(id, early("bob")).await, Ok(over));
        // One of another scope is not meant.
        let (id, hers, his) = (run("s"), StopScope::new(["ada"]), StopScope::new(["bob"]));
        let kept = a.remember_stop_anywhere(id, hers, early("ada")).await;
        assert_eq!(kept, Ok(Some(Disposition::Reserved)));
        let other =
            b.submit_durably(RunSpec::agent("his").id(id).stop_scope(his), async |_| Ok(()));
        assert_eq!(other.await.unwrap().run().ended().await.status, RunStatus::Completed);
        assert_eq!(a.remember_stop_anywhere(id, hers, early("ada")).await, Ok(None));
        assert_eq!(place.sql("select count(*) from reserved"), "1", "it is left until it lapses");
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}

#[test]
fn i34_a_remembered_stop_is_that_of_its_run_whoever_takes_over() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let id = run("r");
        assert_eq!(a.remember(to_come(id, "ada", 9)).await, Ok(true));
        // Nobody has heard of it when the member is gone.
        bare(&b, id).await.unwrap();
        assert_eq!(b.take_remembered().len(), 1);
        let asked = b.inbox(Vec::new()).await.unwrap();
        assert!(matches!(&asked[..], [Asked::Stop(stop)] if stop.run == id), "{asked:?}");
        expire(&place, "b");
        a.take_over().await.unwrap().unwrap();
        let stored = read(&*a, id).await;
        assert_eq!(stored.stop.unwrap().cause.by.as_deref(), Some("ada"));
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn i22_a_remembered_stop_of_a_run_that_was_refused_is_remembered_again_as_it_was() {
    let place = Place::shared();
    on_threads(async {
        let a = join(&place, "a").await;
        let all = "select run, scope, asker, channel, request, at, until from reserved order by nr";
        for (name, scope, by) in [("one", None, Some("ada")), ("two", Some([7; 32]), None)] {
            let id = run(name);
            let request = by.map_or_else(|| CancelRequest::because("early"), early);
            let request = request.remember_for(Duration::from_hours(1));
            let to_come = StopToCome { scope, request, ..to_come(id, "", 9) };
            assert_eq!(a.remember(to_come.clone()).await, Ok(true));
            let before = place.sql(all);
            let (epoch, rollback) = (Epoch::new(a.boot(), 1), true);
            let Record::Accepted(mut accepted) = accept(id, epoch) else { panic!() };
            let at = accepted.at;
            accepted.stop_scopes = scope.into_iter().collect();
            let accepted = || vec![Record::Accepted(accepted.clone())];
            a.append(accepted()).await.unwrap();
            assert_eq!((a.take_remembered().len(), place.sql(all)), (1, String::new()));
            let ended = || match end(id, epoch, RunStatus::Cancelled) {
                Record::Ended { run, epoch, report, .. } => {
                    Record::Ended { run, epoch, report, rollback }
                }
                other => panic!("{other:?}"),
            };
            let left = |at| vec![ended(), Record::Forgotten { run: id, epoch, at }];
            a.append(left(at - limits::KEYS_TTL)).await.unwrap();
            assert_eq!(place.sql(all), before);
            assert_eq!(place.sql("select count(*) from stop"), "0", "nobody is asked for it");
            // One that was there uses it up, also if it is taken back; whatever the clock says of
            // the host of whoever forgets it.
            for clock in [at, at - Duration::from_hours(1)] {
                place.sql("delete from reserved; delete from stop");
                assert_eq!(a.remember(to_come.clone()).await, Ok(true));
                a.append(accepted()).await.unwrap();
                a.append(left(clock)).await.unwrap();
                assert_eq!((a.take_remembered().len(), place.sql(all)), (1, String::new()));
            }
            place.sql("delete from stop");
        }
        a.close().await.unwrap();
    });
}

#[test]
fn i22_all_stops_that_a_run_has_used_up_which_was_refused_are_remembered_again_as_they_were() {
    let place = Place::shared();
    on_threads(async {
        let (a, id) = (join(&place, "a").await, run("r"));
        let (its, other) = ([7; 32], [8; 32]);
        let nul = CancelRequest::because("early \u{0} \"quoted\"").rollback();
        let stops = [
            (Some(other), early("eve")),
            (None, early("ada \u{0} lovelace")),
            (Some(its), nul.remember_for(Duration::from_hours(1))),
        ];
        for (scope, request) in stops {
            let to_come = StopToCome { scope, request, ..to_come(id, "", 99) };
            assert_eq!(a.remember(to_come).await, Ok(true));
        }
        let all = "select run, scope, asker, channel, request, at, until from reserved
            order by scope, nr";
        let before = place.sql(all);
        assert_eq!(before.lines().count(), 3, "{before}");
        let epoch = Epoch::new(a.boot(), 1);
        let Record::Accepted(mut accepted) = accept(id, epoch) else { panic!() };
        accepted.stop_scopes = vec![its];
        let never = accepted.at - limits::KEYS_TTL;
        a.append(vec![Record::Accepted(accepted)]).await.unwrap();
        let come = a.take_remembered();
        assert_eq!((come.len(), place.sql("select count(*) from reserved")), (1, "1".into()));
        assert!(come[0].request.is_rollback() && come[0].request.asked_by() != Some("eve"));
        let refused = Record::Forgotten { run: id, epoch, at: never };
        a.append(vec![end(id, epoch, RunStatus::Cancelled), refused]).await.unwrap();
        assert_eq!(place.sql(all), before);
        a.close().await.unwrap();
    });
}

#[test]
fn i7_a_rollback_that_is_remembered_behind_another_stop_of_a_run_counts() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let back = |run, scope: Option<[u8; 32]>| {
            let stop = to_come(run, "bob", 9);
            StopToCome { scope, request: early("bob").rollback(), ..stop }
        };
        let scope = [7; 32];
        for (name, of) in [("same scope", None), ("another scope", Some(scope))] {
            let id = run(name);
            assert_eq!(a.remember(to_come(id, "ada", 9)).await, Ok(true));
            assert_eq!(a.remember(back(id, of)).await, Ok(true));
            let epoch = Epoch::new(b.boot(), 1);
            let mut accepted = match accept(id, epoch) {
                Record::Accepted(accepted) => accepted,
                other => panic!("{other:?}"),
            };
            accepted.stop_scopes = vec![scope];
            b.append(vec![Record::Accepted(accepted)]).await.unwrap();
            let come = b.take_remembered();
            assert_eq!(come.len(), 1, "{name}");
            assert!(come[0].request.is_rollback(), "{name}: it is taken back");
            assert_eq!(come[0].request.asked_by(), Some("ada"), "{name}: the first cause (I6)");
        }
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn remembered_stops_lapse_and_are_as_few_as_their_bounds_say() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        for nth in 0..5 {
            a.remember(to_come(run(&format!("r{nth}")), "ada", 4)).await.unwrap();
        }
        assert_eq!(place.sql("select count(*) from reserved"), "2", "half of them are hers");
        for nth in 5..9 {
            let by = format!("one {nth}");
            b.remember(to_come(run(&format!("r{nth}")), &by, 4)).await.unwrap();
        }
        let left = "select string_agg(asker, ',' order by nr) from reserved";
        assert_eq!(place.sql(left), "one 5,one 6,one 7,one 8");
        place.sql("update reserved set until = 1");
        // What has lapsed is not used, and leaves with the next one.
        bare(&b, run("r8")).await.unwrap();
        assert!(b.take_remembered().is_empty());
        a.remember(to_come(run("r"), "ada", 4)).await.unwrap();
        assert_eq!(place.sql(left), "ada");
        // One that is refused uses nothing up.
        let (epoch, at) = (Epoch::new(a.boot(), 1), std::time::SystemTime::now());
        let of = |name: &str| {
            let kind = quell_core::RunKind::Agent;
            Record::Accepted(Accepted::new(run(name), kind, "a".into(), epoch, at).into())
        };
        a.append(vec![of("r"), of("r8")]).await.unwrap_err();
        assert_eq!(place.sql(left), "ada");
        assert!(a.take_remembered().is_empty());
        // A member that is lost acknowledges nothing.
        expire(&place, "b");
        a.take_over().await.unwrap().unwrap();
        b.remember(to_come(run("q"), "ada", 4)).await.unwrap_err();
        assert_eq!(place.sql(left), "ada");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

/// Runs that come in the moment in which a stop is asked for: 3,000 with `QUELL_LONG=1`.
fn races() -> usize {
    if is_long() { 3_000 } else { 300 }
}

#[test]
fn i22_a_stop_and_the_acceptance_of_its_run_never_miss_each_other() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let (a, b) = (engine(&node_a), engine(&node_b));
        let (polls, mut early_ones) = (Arc::default(), 0);
        for round in 0..races() / 10 {
            let pairs = (0..10).map(|nth| {
                let (id, b, polls) = (run(&format!("r {round} {nth}")), &b, &polls);
                let spec = RunSpec::agent("one").id(id);
                let a = &a;
                async move {
                    let wait = |turns: u64| tokio::time::sleep(Duration::from_micros(turns * 700));
                    let asked = async {
                        wait(nth).await;
                        a.cancel_anywhere(id, early("ada")).await.unwrap()
                    };
                    let submitted = async {
                        wait(9 - nth).await;
                        begun(b, spec, polls).await
                    };
                    // A body that is not stopped never ends.
                    let (status, answer) = tokio::join!(submitted, asked);
                    assert_eq!(status, RunStatus::Cancelled, "{answer:?}");
                    usize::from(answer == Disposition::Reserved)
                }
            });
            early_ones += join_all(pairs).await.into_iter().sum::<usize>();
        }
        assert!(early_ones > 0, "some were early");
        assert_eq!(place.sql("select count(*) from reserved"), "0");
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}
