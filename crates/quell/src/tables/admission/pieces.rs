//! How much is done under one lock while limits change, and what is seen meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quell_core::{RunId, RunKind};

use super::Admission;
use super::change::PIECE;
use super::naive::Run;
use crate::failure::SubmitError;
use crate::gate::Gate;
use crate::queue::{RunLimits, Scope};
use crate::sync::{AtomicBool, Ordering};

fn run(owner: usize, due: Option<Instant>) -> Arc<Run> {
    Arc::new(Run {
        id: RunId::from_text("a"),
        kind: RunKind::Agent,
        name: "a",
        owner: Some(owner.to_string().into()),
        gate: due.map(|due| Gate { not_before: Some(due), ..Gate::default() }),
        wanted: AtomicBool::new(true),
        released: AtomicBool::new(false),
    })
}

fn submit(ours: &Admission<Run>, run: &Arc<Run>, now: Instant) -> Result<(), SubmitError> {
    ours.catch_up(now);
    if ours.concerns(run) {
        ours.enter(run, now)?.free.start();
    } else {
        super::Candidate::release(&**run);
    }
    Ok(())
}

fn is_released(run: &Arc<Run>) -> bool {
    run.released.load(Ordering::SeqCst)
}

fn set(ours: &Admission<Run>, scope: &Scope, limits: RunLimits, now: Instant) {
    ours.set_limit(scope, limits, now, Vec::new, |_| {});
}

fn scopes() -> [Scope; 3] {
    [Scope::EachOwner, Scope::component(RunKind::Agent, "a"), Scope::Kind(RunKind::Agent)]
}

#[test]
fn i14_no_change_of_a_limit_looks_at_more_than_a_piece_under_one_lock() {
    for (owners, due) in [(1, false), (MANY, false), (MANY, true)] {
        let now = Instant::now();
        let ours = Admission::new(&[(Scope::All, RunLimits::new().running_max(MANY / 2))], &[]);
        let later = now + Duration::from_secs(1);
        let runs: Vec<_> = (0..MANY).map(|it| run(it % owners, due.then_some(later))).collect();
        for run in &runs {
            submit(&ours, run, now).unwrap();
        }
        for scope in scopes() {
            set(&ours, &scope, RunLimits::new().running_max(MANY), now);
        }
        let released = || runs.iter().filter(|run| is_released(run)).count();
        assert_eq!(released(), if due { 0 } else { MANY / 2 });
        // Who comes finds all that were due before it, and takes nobody's slot.
        let late = run(0, None);
        submit(&ours, &late, later).unwrap();
        assert_eq!((released(), is_released(&late)), (MANY / 2, false));
        for max in [0, MANY] {
            for scope in scopes().into_iter().chain([Scope::All]) {
                set(&ours, &scope, RunLimits::new().running_max(max), later);
            }
        }
        assert_eq!(released(), MANY);
        for scope in scopes() {
            set(&ours, &scope, RunLimits::new(), later);
        }
        let largest = ours.largest_piece();
        assert!(largest <= 10 * PIECE, "{largest} of {MANY} under one lock");
    }
}

#[test]
fn i14_no_change_of_a_limit_looks_at_more_limits_of_all_nodes_than_a_piece_under_one_lock() {
    let now = Instant::now();
    let ours = Admission::new(&[], &[(Scope::EachOwner, 1)]);
    let runs: Vec<_> = (0..MANY).map(|owner| run(owner, None)).collect();
    for run in &runs {
        submit(&ours, run, now).unwrap();
    }
    for scope in &scopes()[1..] {
        set(&ours, scope, RunLimits::new().running_max(MANY), now);
    }
    assert!(!runs.iter().any(is_released), "nothing may be used yet");
    let largest = ours.largest_piece();
    assert!(largest <= 20 * PIECE, "{largest} of {MANY} under one lock");
}

#[test]
fn i21_a_limit_that_is_being_counted_holds_and_refuses_nobody_and_counts_them() {
    for scope in scopes() {
        let (ours, now) = (Admission::new(&[], &[]), Instant::now());
        let [first, second, third] = [(); 3].map(|()| run(0, None));
        submit(&ours, &first, now).unwrap();
        let limits = RunLimits::new().running_max(2).queued_max(0);
        let live = || vec![Arc::clone(&first)];
        let count_in = |run: &Arc<Run>| {
            assert_eq!(ours.limits(&scope).unwrap_or_default(), RunLimits::new());
            submit(&ours, &second, now).unwrap();
            assert!(is_released(&second), "{scope}");
            ours.count_in(run);
        };
        ours.set_limit(&scope, limits, now, live, count_in);
        assert_eq!(ours.limits(&scope), Some(limits));
        let refused = submit(&ours, &third, now).unwrap_err();
        assert_eq!(refused, SubmitError::QueueFull { scope, max: 0 });
    }
}

#[test]
fn i26_a_limit_whose_count_panics_is_not_set_and_may_be_set_again() {
    for scope in scopes() {
        let (ours, now) = (Admission::new(&[], &[]), Instant::now());
        let [first, second, third] = [(); 3].map(|()| run(0, None));
        submit(&ours, &first, now).unwrap();
        let limits = RunLimits::new().running_max(2).queued_max(0);
        let live = || vec![Arc::clone(&first)];
        let count_in = |_: &Arc<Run>| assert!(is_released(&third), "a fault of ours");
        let set = || ours.set_limit(&scope, limits, now, live, count_in);
        assert!(catch_unwind(AssertUnwindSafe(set)).is_err());
        assert_eq!(ours.limits(&scope).unwrap_or_default(), RunLimits::new(), "{scope}");
        submit(&ours, &second, now).unwrap();
        assert!(is_released(&second), "{scope}");
        ours.set_limit(&scope, limits, now, live, |run| ours.count_in(run));
        let refused = submit(&ours, &third, now).unwrap_err();
        assert_eq!(refused, SubmitError::QueueFull { scope, max: 0 });
    }
}

#[test]
fn i39_a_component_without_a_limit_and_without_runs_is_forgotten() {
    let (ours, now) = (Admission::new(&[], &[]), Instant::now());
    let component = |name: usize| Scope::component(RunKind::Team, name.to_string());
    for name in 0..MANY {
        set(&ours, &component(name), RunLimits::new().running_max(1), now);
    }
    set(&ours, &scopes()[1], RunLimits::new().running_max(1), now);
    let (first, second) = (run(0, None), run(0, None));
    submit(&ours, &first, now).unwrap();
    submit(&ours, &second, now).unwrap();
    assert_eq!(ours.groups(), MANY + 2);
    for scope in (0..MANY).map(component).chain([scopes()[1].clone()]) {
        set(&ours, &scope, RunLimits::new(), now);
        assert_eq!(ours.limits(&scope).unwrap_or_default(), RunLimits::new());
    }
    assert!(is_released(&second));
    assert_eq!(ours.groups(), 2, "that of all, and that of the runs");
    for run in [first, second] {
        ours.hold().leave(&run, true, now, || {}).start();
    }
    assert_eq!(ours.groups(), 1);
}

/// Many more than a piece.
const MANY: usize = 20 * PIECE;
