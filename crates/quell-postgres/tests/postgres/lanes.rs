//! I36: lanes that members share. What really runs is told by a witness in the bodies.

use std::sync::Arc;
use std::time::SystemTime;

use quell::{
    CauseKind, Engine, EngineConfig, OnBusy, Recovery, RunRef, RunSpec, RunStatus, SubmitError,
};
use quell_core::cluster::{Cluster as _, TurnAsk};
use quell_core::store::{
    Accepted, Epoch, LaneRule, Record, RunRecord, Store as _, StoreError, StoredHold,
};
use quell_core::{RunId, RunKind, Work};
use quell_postgres::PostgresNode;
use quell_test_support::records::end;
use quell_test_support::{Witness, ms, soon, soon_in_real_time, within};

use crate::crew::{engine, expire, join, listener, on_threads, read, stop};
use crate::fixture::Place;

const LANE: &str = "thread-1";

fn spec(on_busy: OnBusy) -> RunSpec {
    RunSpec::agent("one").lane(LANE, on_busy)
}

fn busy(run: RunId) -> SubmitError {
    SubmitError::LaneBusy { lane: LANE.into(), run }
}

async fn waits(on: &Engine, on_busy: OnBusy) -> RunRef {
    on.submit_durably(spec(on_busy), listener).await.unwrap().into_ref()
}

async fn running(on: &Engine, on_busy: OnBusy) -> RunRef {
    let run = waits(on, on_busy).await;
    soon("it runs", || run.status() == RunStatus::Running).await;
    run.stored().await.unwrap();
    run
}

/// Accepts a root in the lane, of which no engine knows.
async fn accept(node: &PostgresNode, text: &str, rule: LaneRule) -> Result<RunId, StoreError> {
    let (run, epoch, at) = (RunId::from_text(text), Epoch::new(node.boot(), 1), SystemTime::now());
    let mut accepted = Accepted::new(run, RunKind::Agent, "bare".into(), epoch, at);
    (accepted.lane, accepted.lane_rule) = (Some(LANE.into()), Some(rule));
    node.append(vec![Record::Accepted(accepted.into())]).await.map(|()| run)
}

#[test]
fn a_root_is_accepted_if_what_has_its_lane_ends_while_it_is_looked_why_it_is_refused() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let first = accept(&a, "first", LaneRule::Refuse).await.unwrap();
        // All is refused first. The second time the statement sees the lane as it was before, and
        // what tells why sees it as it is by then.
        place.sql(
            "create sequence looks;
            create function ends() returns trigger language plpgsql as $$ begin
                if nextval('quell.looks') = 2 then
                    perform pg_advisory_xact_lock_shared(8);
                    while exists (select from quell.run where status < 3 or not quiescent) loop
                        perform pg_sleep(0.001);
                    end loop;
                end if;
                return null;
            end $$;
            create trigger ends before insert on run for each statement execute function ends()",
        );
        let began = "select count(*) from pg_locks where locktype = 'advisory' and objid = 8
            and database = (select oid from pg_database where datname = current_database())";
        let (next, ()) = tokio::join!(accept(&b, "next", LaneRule::Refuse), async {
            soon_in_real_time("it is being accepted", || place.sql(began) == "1").await;
            let (epoch, at) = (Epoch::new(a.boot(), 1), SystemTime::now());
            let ends = end(first, epoch, RunStatus::Completed);
            let quiesces = Record::Quiesced { run: first, epoch, at };
            a.append(vec![ends, quiesces]).await.unwrap();
        });
        assert_eq!(next, Ok(RunId::from_text("next")));
        assert!(b.take_placed()[0].has_turn);
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

async fn turns(node: &PostgresNode, next: Option<RunId>) -> Vec<RunId> {
    node.turns(vec![TurnAsk { lane: LANE.into(), next }]).await.unwrap()
}

#[test]
fn what_a_lost_member_has_left_keeps_no_lane_also_when_it_is_named_no_more() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let b_engine = engine(&b);
        let run = accept(&a, "first", LaneRule::Refuse).await.unwrap();
        let epoch = Epoch::new(a.boot(), 1);
        let hold = StoredHold::new(0, Work::Remote, "a service".into());
        let began = [
            Record::Started { run, epoch, at: SystemTime::now() },
            Record::HoldBegan { run, epoch, hold },
        ];
        a.append(began.into()).await.unwrap();
        a.close().await.unwrap();
        expire(&place, "a");
        b_engine.take_over(|_| Recovery::Fail).await.unwrap().unwrap();
        let again = join(&place, "a").await;
        let is_released = async {
            while read(&*b, run).await.holds.len() > 1 {
                tokio::task::yield_now().await;
            }
        };
        within("it names the node no more", is_released).await;
        let left = read(&*b, run).await;
        assert_eq!((left.holds[0].what, left.quiescent), (Work::Remote, false));
        accept(&again, "next", LaneRule::Refuse).await.unwrap();
        assert!(again.take_placed()[0].has_turn);
        again.close().await.unwrap();
        drop(b_engine);
        b.close().await.unwrap();
    });
}

#[test]
fn an_append_refuses_or_queues_by_what_all_members_have() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let first = accept(&a, "first", LaneRule::Refuse).await.unwrap();
        let placed = a.take_placed();
        assert!(placed[0].has_turn && placed[0].run == first, "{placed:?}");
        for rule in [LaneRule::Refuse, LaneRule::Join] {
            let refused = accept(&b, "refused", rule).await.unwrap_err();
            assert_eq!(refused, StoreError::LaneBusy { lane: LANE.into(), run: first });
            assert!(b.take_placed().is_empty());
        }
        let second = accept(&b, "second", LaneRule::Wait).await.unwrap();
        let third = accept(&a, "third", LaneRule::Wait).await.unwrap();
        let placed = [b.take_placed(), a.take_placed()].concat();
        assert_eq!(placed.iter().filter(|placed| placed.has_turn).count(), 0);
        // Nobody gets it while the first one has it, and that is told again.
        assert_eq!(
            (turns(&b, Some(second)).await, turns(&a, Some(third)).await),
            (vec![], vec![first])
        );
        a.append(vec![end(first, Epoch::new(a.boot(), 1), RunStatus::Completed)]).await.unwrap();
        // The other member comes first, hears of it, and has it then, once.
        assert_eq!(turns(&a, Some(third)).await, []);
        let heard = within("it is told", b.turn_heard()).await;
        assert_eq!(heard, [LANE.into()]);
        assert_eq!(turns(&b, None).await, []);
        assert_eq!(turns(&b, Some(second)).await, [second]);
        assert_eq!((turns(&b, None).await, turns(&a, Some(third)).await), (vec![second], vec![]));
        // A member that was taken over from gives none.
        expire(&place, "b");
        a.take_over().await.unwrap().unwrap();
        let lost = b.turns(vec![TurnAsk { lane: LANE.into(), next: Some(second) }]).await;
        assert_eq!(lost.unwrap_err(), StoreError::LeaseLost { node: "b".into() });
        assert_eq!(turns(&a, Some(third)).await, [second], "it has it still");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn a_root_in_whose_place_another_member_s_is_gets_no_turn_any_more() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let first = accept(&a, "first", LaneRule::Wait).await.unwrap();
        let second = accept(&b, "second", LaneRule::Wait).await.unwrap();
        let third = accept(&a, "third", LaneRule::Replace).await.unwrap();
        let placed = a.take_placed();
        assert_eq!((placed[1].has_turn, &*placed[1].replaced), (false, &[second][..]));
        // Before its member hears of the stop that the other one asks for.
        a.append(vec![end(first, Epoch::new(a.boot(), 1), RunStatus::Completed)]).await.unwrap();
        assert_eq!(turns(&b, Some(second)).await, []);
        assert_eq!(within("it is told", a.turn_heard()).await, [LANE.into()]);
        assert_eq!(turns(&a, Some(third)).await, [third]);
        let fourth = accept(&b, "fourth", LaneRule::Wait).await.unwrap();
        a.append(vec![end(third, Epoch::new(a.boot(), 1), RunStatus::Completed)]).await.unwrap();
        // Nobody is in its place any more, should it not have been stopped.
        assert_eq!(turns(&b, Some(fourth)).await, [fourth]);
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn a_run_that_may_not_wait_is_refused_for_what_is_due_and_not_for_what_is_due_later() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let first = accept(&a, "first", LaneRule::Wait).await.unwrap();
        // It has the lane, and comes to no due time any more.
        let refused = accept(&b, "refused", LaneRule::NoWait).await.unwrap_err();
        assert_eq!(refused, StoreError::LaneBusy { lane: LANE.into(), run: first });
        let due = |at: &str| {
            let set =
                format!("update run set turn = 0, due = {at} where id = '{}'", first.as_uuid());
            place.sql(&set);
        };
        due("1");
        assert!(accept(&b, "refused", LaneRule::NoWait).await.is_err(), "it is due");
        due("4000000000000");
        accept(&b, "second", LaneRule::NoWait).await.unwrap();
        assert!(b.take_placed()[0].has_turn);
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn a_run_waits_for_that_of_another_member_and_begins_soon_after_it() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (engine(&join(&place, "a").await), engine(&join(&place, "b").await));
        let first = running(&a, OnBusy::Enqueue).await;
        let refused = b.submit_durably(spec(OnBusy::Reject), listener).await;
        assert_eq!(refused.unwrap_err(), busy(first.id()));
        let second = waits(&b, OnBusy::Enqueue).await;
        tokio::time::sleep(ms(50)).await;
        assert_eq!(second.status(), RunStatus::Queued);
        first.cancel(stop("ada"));
        soon("it is its turn", || second.status() == RunStatus::Running).await;
        let last = running(&a, OnBusy::CancelExisting).await;
        let cause = second.row().cause.unwrap();
        assert_eq!(cause.kind, CauseKind::Superseded);
        assert_eq!(cause.by.as_deref(), Some(&*last.id().to_string()));
        last.cancel(stop("ada"));
        last.quiescent().await;
    });
}

#[test]
fn who_is_told_of_a_run_in_the_place_of_another_member_s_may_lose_the_member_that_tells() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (engine(&join(&place, "a").await), engine(&join(&place, "b").await));
        for _ in 0..5 {
            let first = running(&a, OnBusy::Enqueue).await;
            let next = b.submit_durably(spec(OnBusy::CancelExisting), listener).await.unwrap();
            let stored = a.stored_run(first.id()).await.unwrap().unwrap();
            let is_stopped = stored.stop.is_some() || stored.status.is_terminal();
            assert!(is_stopped, "whoever takes {} over lets it go on", first.id());
            next.run().cancel(stop("ada"));
            next.run().quiescent().await;
        }
    });
}

#[test]
fn runs_of_one_lane_never_overlap_however_many_members_there_are() {
    let place = Place::shared();
    on_threads(async {
        let mut engines = Vec::new();
        for name in ["a", "b", "c"] {
            let config = EngineConfig::new().node(join(&place, name).await).running_max(4);
            engines.push(Engine::with_config(config));
        }
        let witnesses = [Witness::new(), Witness::new()];
        let mut runs = Vec::new();
        for nth in 0..120_usize {
            let (inside, lane) = (witnesses[nth % 2].clone(), format!("lane-{}", nth % 2));
            let spec = RunSpec::agent("one").lane(lane, OnBusy::Enqueue);
            let run = engines[nth % 3].submit(spec, async move |_| {
                let _inside = inside.enter();
                tokio::task::yield_now().await;
                tokio::time::sleep(ms(1)).await;
                Ok(())
            });
            runs.push(run.unwrap().into_ref());
        }
        for run in &runs {
            let ended = within("all have a turn", run.ended()).await;
            assert_eq!(ended.status, RunStatus::Completed);
        }
        for witness in witnesses {
            assert_eq!((witness.entered(), witness.most()), (60, 1));
        }
        for run in &runs {
            run.stored().await.unwrap();
        }
        let left = "select count(*) from run where turn is not null
            and (status < 3 or not quiescent)";
        assert_eq!(place.sql(left), "0");
    });
}

#[test]
fn the_lane_of_a_lost_member_is_free_when_its_run_is_decided() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let first = accept(&node_a, "first", LaneRule::Wait).await.unwrap();
        let (epoch, at) = (Epoch::new(node_a.boot(), 1), SystemTime::now());
        node_a.append(vec![Record::Started { run: first, epoch, at }]).await.unwrap();
        let b = engine(&node_b);
        let second = waits(&b, OnBusy::Enqueue).await;
        expire(&place, "a");
        tokio::time::sleep(ms(1_200)).await;
        assert_eq!(second.status(), RunStatus::Queued);
        let fail = |_: &RunRecord| Recovery::Fail;
        let taken = b.take_over(fail).await.unwrap().unwrap();
        assert_eq!(taken.recovered.ended.failed, 1);
        soon("it is its turn", || second.status() == RunStatus::Running).await;
        assert!(!node_b.get(first).await.unwrap().unwrap().quiescent);
        second.cancel(stop("ada"));
        second.quiescent().await;
    });
}

#[test]
fn whoever_takes_over_asks_for_the_lane_of_a_run_that_had_ended_and_was_not_quiescent() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let first = accept(&node_a, "first", LaneRule::Wait).await.unwrap();
        let second = accept(&node_b, "second", LaneRule::Wait).await.unwrap();
        let ended = "status = 5, quiescent = false, ended = 0";
        place.sql(&format!("update run set {ended} where id = '{}'", first.as_uuid()));
        expire(&place, "a");
        node_b.take_over().await.unwrap().unwrap();
        assert_eq!(within("it hears", node_b.turn_heard()).await, [LANE.into()]);
        let ask = TurnAsk { lane: LANE.into(), next: Some(second) };
        assert_eq!(node_b.turns(vec![ask]).await, Ok(vec![second]));
    });
}

#[test]
fn a_turn_is_found_where_no_notification_comes() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let (a, b) = (engine(&a), engine(&b));
        let first = running(&a, OnBusy::Enqueue).await;
        let second = waits(&b, OnBusy::Enqueue).await;
        place.sql("update node set channel = 'nobodys'");
        first.cancel(stop("ada"));
        soon("it is its turn", || second.status() == RunStatus::Running).await;
        second.cancel(stop("ada"));
        second.quiescent().await;
    });
}

#[test]
fn members_that_lock_the_same_lanes_in_other_orders_wait_for_each_other_once() {
    let place = Place::shared();
    on_threads(async {
        let nodes = [join(&place, "a").await, join(&place, "b").await];
        let all = nodes.iter().enumerate().map(|(nth, node)| {
            let node = Arc::clone(node);
            tokio::spawn(async move {
                for round in 0..50 {
                    let (epoch, at) = (Epoch::new(node.boot(), 1), SystemTime::now());
                    let mut batch: Vec<_> = (0..8)
                        .map(|lane| {
                            let run = RunId::from_text(&format!("{nth}-{round}-{lane}"));
                            let name = "bare".into();
                            let mut one = Accepted::new(run, RunKind::Agent, name, epoch, at);
                            one.lane = Some(format!("lane-{lane}").into());
                            one.lane_rule = Some(LaneRule::Wait);
                            Record::Accepted(one.into())
                        })
                        .collect();
                    if nth == 1 {
                        batch.reverse();
                    }
                    node.append(batch).await.unwrap();
                }
            })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        let with_turn = "select count(*) from run where turn = 1";
        assert_eq!(place.sql(with_turn), "8");
    });
}
