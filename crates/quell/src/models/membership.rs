//! The place of an engine in its cluster: a lease that lapses, and what else happens at that
//! moment.
//!
//! Time stands still in a model: each says at which instant the control thread looks. The loops of
//! the member and of the journal are not started, for they never end; what they do is played.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use quell_core::cluster::Cluster as _;
use quell_core::lifecycle::BodyEnd;
use quell_core::{CancelRequest, CauseKind, Disposition, RunId};

use super::{
    Arc, EVERY, Engine, EngineConfig, Node, end_body, engine_of, explore, is_stopped,
    started_child, started_root,
};
use crate::cluster::{AskedStop, Claim, Leave, Member, Phase, Watch};
use crate::failure::SubmitError;
use crate::spec::RunSpec;
use crate::step::cascade::Spread;
use crate::step::detach::detach;
use crate::testing::cluster::Nodes;

const SECOND: Duration = Duration::from_secs(1);

/// How long the lease lasts, and how much of that an engine needs to stop everything.
const LEASE: Duration = Duration::from_secs(15);
const TO_STOP: Duration = Duration::from_secs(6);

/// When it lapses after it was renewed: there is a margin of a second.
const LAPSES_AFTER: Duration = Duration::from_secs(8);

/// A member, and when it has joined.
fn member() -> (Arc<Member>, Instant) {
    let node = Nodes::new(LEASE).join("node");
    let joined = node.joined_at();
    (Member::new(node, TO_STOP), joined)
}

/// An engine that is a node, and when its lease lapses.
fn engine() -> (Engine, Instant) {
    let node = Nodes::new(LEASE).join("node");
    let lapses_at = node.joined_at() + LAPSES_AFTER;
    let config = EngineConfig::new().grace(TO_STOP.saturating_sub(SECOND)).abort_wait(SECOND);
    (engine_of(config.node(node)), lapses_at)
}

/// Waits for the member to be no longer in its cluster, as its loop does.
fn left_its_phase(member: &Member) -> Phase {
    block_on(poll_fn(|cx| match member.look(cx.waker()).0 {
        Phase::In => Poll::Pending,
        phase => Poll::Ready(phase),
    }))
}

fn leave(until: Instant) -> Leave {
    Leave { until, is_drained: true }
}

/// What the control thread does when the lease has lapsed: it stops those that are roots then, in a
/// fixed order, which the map of runs has not.
fn lose(engine: &Engine, lapses_at: Instant, runs: &[&Arc<Node>]) {
    let (_, lapsed) = engine.shared().watch_lease(lapses_at);
    let roots = runs.iter().filter(|run| run.is_root()).map(|run| Arc::clone(run)).collect();
    stop(engine, roots, lapsed.expect("it has lapsed"));
}

fn stop(engine: &Engine, roots: Vec<Arc<Node>>, request: CancelRequest) {
    Spread::cancel(roots, request, engine.shared().clock.now()).run(usize::MAX);
}

/// Fails unless a run that is being stopped can store nothing any more.
fn assert_fenced(engine: &Engine, run: &Node) {
    // Its status first: what is seen after that is as new, or newer.
    let is_stopped = is_stopped(run.status());
    let is_fenced = engine.shared().journal.as_ref().is_some_and(|journal| journal.is_revoked());
    assert!(!is_stopped || is_fenced, "its end would be stored");
}

fn cause_of(run: &Node) -> Option<CauseKind> {
    run.lock().cause.as_ref().map(|cause| cause.kind)
}

fn assert_lost(run: &Node) {
    assert!(is_stopped(run.status()), "{}", run.status());
    assert_eq!(cause_of(run), Some(CauseKind::LeaseLost));
}

#[test]
fn i35_a_renewal_that_is_answered_late_is_in_time_or_revives_nothing() {
    explore("late renewal against lapse", EVERY, 2, |seen| {
        let (member, joined) = member();
        let (sent, now) = (joined + 3 * SECOND, joined + LAPSES_AFTER);
        let renewal = thread::spawn({
            let member = Arc::clone(&member);
            move || member.renewed(sent)
        });
        let found = member.watch(now);
        // One who asks after that: a lease that was found lapsed never holds.
        let holds = (member.is_in(), !member.lease_left(now).is_zero());
        renewal.join().unwrap();
        match found {
            Watch::Until(at) => {
                assert_eq!((at, holds), (sent + LAPSES_AFTER, (true, true)));
                assert_eq!(member.watch(now), Watch::Until(at));
                assert_eq!(member.lease_left(now), 3 * SECOND);
                seen.note(0);
            }
            Watch::Lapsed => {
                assert_eq!((holds, member.is_in()), ((false, false), false));
                assert_eq!(member.watch(now), Watch::Over, "it lapses once");
                assert_eq!(member.lease_left(now), Duration::ZERO);
                seen.note(1);
            }
            Watch::Over => panic!("nobody has left"),
        }
    });
}

#[test]
fn i35_a_lease_that_the_store_has_refused_lapses_once_whatever_is_answered_meanwhile() {
    explore("refusal against renewal", EVERY, 2, |seen| {
        let (member, joined) = member();
        let now = joined + 3 * SECOND;
        let refusal = thread::spawn({
            let member = Arc::clone(&member);
            move || member.revoke()
        });
        let renewal = thread::spawn({
            let member = Arc::clone(&member);
            move || member.renewed(now)
        });
        let first = member.watch(now);
        refusal.join().unwrap();
        renewal.join().unwrap();
        let second = member.watch(now);
        match (first, second) {
            (Watch::Until(_), Watch::Lapsed) => seen.note(0),
            (Watch::Lapsed, Watch::Over) => seen.note(1),
            other => panic!("{other:?}"),
        }
        assert_eq!((member.is_in(), member.lease_left(now)), (false, Duration::ZERO));
    });
}

#[test]
fn i35_a_lapse_against_a_leave_has_one_winner_and_wakes_the_loop() {
    explore("leave against lapse", EVERY, 2, |seen| {
        let (member, joined) = member();
        let (now, until) = (joined + LAPSES_AFTER, joined + 9 * SECOND);
        let leaver = thread::spawn({
            let member = Arc::clone(&member);
            move || member.begin_to_leave(leave(until))
        });
        let watcher = thread::spawn({
            let member = Arc::clone(&member);
            move || member.watch(now)
        });
        // A wake-up that is lost is a deadlock.
        let phase = left_its_phase(&member);
        leaver.join().unwrap();
        let found = watcher.join().unwrap();
        member.end();
        let last = left_its_phase(&member);
        match phase {
            Phase::Lost => {
                assert_eq!((found, last), (Watch::Lapsed, Phase::Lost), "it has not left");
                seen.note(0);
            }
            Phase::Leaving(at) => {
                assert_eq!((found, last, at), (Watch::Over, Phase::Left, leave(until)));
                seen.note(1);
            }
            other => panic!("{other:?}"),
        }
        member.begin_to_leave(leave(until));
        assert_eq!((left_its_phase(&member), member.is_in()), (last, false));
    });
}

#[test]
fn i35_what_is_given_up_is_taken_once_before_or_while_the_member_leaves() {
    explore("release against leave", EVERY, 2, |seen| {
        let (member, joined) = member();
        let roots = ["first", "last"].map(RunId::from_text);
        let other = thread::spawn({
            let member = Arc::clone(&member);
            move || {
                member.release(roots.to_vec());
                member.begin_to_leave(leave(joined + SECOND));
            }
        });
        let (mut taken, mut is_early) = (Vec::new(), false);
        block_on(poll_fn(|cx| {
            let phase = member.look(cx.waker()).0;
            taken.extend(member.take_released());
            is_early |= phase == Phase::In && !taken.is_empty();
            if phase == Phase::In { Poll::Pending } else { Poll::Ready(()) }
        }));
        other.join().unwrap();
        seen.note(usize::from(is_early));
        taken.sort_unstable();
        let mut all = roots.to_vec();
        all.sort_unstable();
        assert_eq!(taken, all);
    });
}

#[test]
fn i35_a_start_against_a_lapse_is_refused_or_stopped_and_nothing_of_it_is_stored() {
    explore("start against lapse", EVERY, 2, |seen| {
        let (engine, lapses_at) = engine();
        // The list of roots is made when the start is through: the map of runs is not modelled.
        let watcher = thread::spawn({
            let engine = engine.clone();
            move || engine.shared().watch_lease(lapses_at).1
        });
        let spec = RunSpec::agent("late").id(RunId::from_text("late"));
        let started = engine.shared().accept_root(spec);
        let lapsed = watcher.join().unwrap();
        stop(&engine, engine.shared().live_roots(), lapsed.expect("it has lapsed"));
        match started {
            Ok((run, _)) => {
                assert_lost(&run);
                assert_fenced(&engine, &run);
                seen.note(0);
            }
            Err(SubmitError::ShuttingDown | SubmitError::NotStored(_)) => seen.note(1),
            Err(other) => panic!("{other}"),
        }
    });
}

#[test]
fn i35_whoever_sees_a_run_stopped_by_a_lapse_finds_that_it_stores_nothing_any_more() {
    explore("lapse against a look at a run", Some(3), 2, |seen| {
        let (engine, lapses_at) = engine();
        let root = started_root(&engine);
        let reader = thread::spawn({
            let (engine, root) = (engine.clone(), Arc::clone(&root));
            move || {
                let sees = is_stopped(root.status());
                assert_fenced(&engine, &root);
                sees
            }
        });
        lose(&engine, lapses_at, &[&root]);
        seen.note(usize::from(reader.join().unwrap()));
        assert_lost(&root);
        end_body(&root, BodyEnd::Dropped);
    });
}

#[test]
fn i35_a_run_that_leaves_its_tree_while_the_lease_lapses_is_stopped_and_stores_nothing() {
    explore("detach against lapse", Some(3), 2, |seen| {
        let (engine, lapses_at) = engine();
        let root = started_root(&engine);
        let child = started_child(&root, "child").expect("nothing is stopped");
        let detaching = thread::spawn({
            let (engine, child) = (engine.clone(), Arc::clone(&child));
            move || {
                let leaves = detach(&child).is_ok();
                assert_fenced(&engine, &child);
                leaves
            }
        });
        lose(&engine, lapses_at, &[&root, &child]);
        let leaves = detaching.join().unwrap();
        seen.note(usize::from(leaves));
        let expected = if leaves { CauseKind::LeaseLost } else { CauseKind::ParentStopped };
        assert_eq!(cause_of(&child), Some(expected));
        assert_lost(&root);
        end_body(&child, BodyEnd::Dropped);
        end_body(&root, BodyEnd::Dropped);
    });
}

#[test]
fn i34_a_stop_that_is_read_while_its_run_is_taken_in_is_carried_out_once_and_at_once() {
    explore("recovery against a stop that is read", EVERY, 2, |seen| {
        let (member, _) = member();
        let run = RunId::from_text("run");
        let (request, at) = (CancelRequest::because("enough"), SystemTime::UNIX_EPOCH);
        let stop = AskedStop { nr: 1, run, accepted_ms: None, request, at };
        let is_there = Arc::new(AtomicBool::new(false));
        let recovery = thread::spawn({
            let (member, is_there) = (Arc::clone(&member), Arc::clone(&is_there));
            move || {
                is_there.store(true, Ordering::SeqCst);
                let taken = member.take_unplaced(run, at);
                for stop in &taken {
                    member.placed(stop.nr, Disposition::Reserved);
                }
                !taken.is_empty()
            }
        });
        // As the loop of the member does.
        if !is_there.load(Ordering::SeqCst) {
            member.note_unplaced(&stop);
        }
        let finds = is_there.load(Ordering::SeqCst);
        let is_own = finds && member.claim_unplaced(stop.nr) == Claim::Own;
        let is_taken = recovery.join().unwrap();
        assert!(is_own ^ is_taken, "once: {is_own}, {is_taken}");
        if is_taken {
            let answer = Some(Disposition::Reserved);
            assert_eq!(member.answer_unplaced(stop.nr), answer);
            assert_eq!(member.claim_unplaced(stop.nr), Claim::Taken(answer));
        }
        seen.note(usize::from(is_own));
    });
}
