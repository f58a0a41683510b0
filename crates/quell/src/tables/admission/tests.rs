//! The tables of admission against a naive admission.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use quell_core::{RunId, RunKind};

use super::naive::{Entry, Naive, Phase, Run, due_of, is_queued};
use super::{Admission, Candidate as _};
use crate::gate::{Gate, Lane, OnBusy};
use crate::queue::{RunLimits, Scope};
use crate::sync::{AtomicBool, Ordering};

/// What happens to both.
#[derive(Clone, Debug)]
enum Step {
    Submit {
        run: Submitted,
        lane: Option<(bool, OnBusy)>,
        due: u64,
    },
    /// Ends a run that runs; something of it may still execute.
    End(Index, bool),
    Quiesce(Index),
    /// Stops a run that waits, or that was superseded while it did.
    Stop(Index),
    /// Stops a run that runs, which goes on for a while.
    Signal(Index),
    Limit(Scope, RunLimits),
    Pass(u64),
}

#[derive(Clone, Debug)]
struct Submitted {
    kind: RunKind,
    name: &'static str,
    owner: Option<u8>,
    priority: i8,
    is_unlimited: bool,
}

fn any_kind() -> impl Strategy<Value = RunKind> + Clone {
    prop_oneof![Just(RunKind::Agent), Just(RunKind::Team)]
}

fn any_limit() -> impl Strategy<Value = Step> {
    let scope = prop_oneof![
        Just(Scope::All),
        any_kind().prop_map(Scope::Kind),
        (any_kind(), any_name()).prop_map(|(kind, name)| Scope::component(kind, name)),
        Just(Scope::EachOwner),
    ];
    let max = proptest::option::of(0..4_usize);
    (scope, max.clone(), max).prop_map(|(scope, running_max, queued_max)| {
        Step::Limit(scope, RunLimits { running_max, queued_max })
    })
}

fn any_name() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![Just("a"), Just("b")]
}

fn any_step() -> impl Strategy<Value = Step> {
    let owner = proptest::option::of(0..2_u8);
    let is_unlimited = proptest::bool::weighted(0.2);
    let run = (any_kind(), any_name(), owner, -1..=1_i8, is_unlimited).prop_map(
        |(kind, name, owner, priority, is_unlimited)| Submitted {
            kind,
            name,
            owner,
            priority,
            is_unlimited,
        },
    );
    let on_busy = prop_oneof![
        3 => Just(OnBusy::Enqueue),
        1 => Just(OnBusy::Reject),
        1 => Just(OnBusy::CancelExisting),
        1 => Just(OnBusy::JoinExisting),
    ];
    let lane = proptest::option::weighted(0.4, (any::<bool>(), on_busy));
    let due = prop_oneof![5 => Just(0), 1 => 1..4_u64];
    let submit = (run, lane, due).prop_map(|(run, lane, due)| Step::Submit { run, lane, due });
    prop_oneof![
        8 => submit,
        4 => (any::<Index>(), any::<bool>()).prop_map(|(which, over)| Step::End(which, over)),
        2 => any::<Index>().prop_map(Step::Quiesce),
        2 => any::<Index>().prop_map(Step::Stop),
        1 => any::<Index>().prop_map(Step::Signal),
        3 => any_limit(),
        1 => (1..3_u64).prop_map(Step::Pass),
    ]
}

/// Both admissions.
struct Pair {
    ours: Admission<Run>,
    naive: Naive,
    now: Instant,
}

impl Pair {
    fn take(&mut self, step: Step) {
        match step {
            Step::Submit { run, lane, due } => self.submit(&run, lane, due),
            Step::End(which, is_over) => {
                let Some(index) = self.pick(which, |phase| phase == Phase::Runs) else { return };
                self.end(index, is_over);
            }
            Step::Quiesce(which) => {
                let Some(index) = self.pick(which, |phase| phase == Phase::Lingers) else { return };
                self.naive.runs[index].phase = Phase::Over;
                self.quiesced(index);
            }
            Step::Stop(which) => {
                let is_meant = |phase| is_queued(phase) || phase == Phase::Superseded;
                let Some(index) = self.pick(which, is_meant) else { return };
                let run = &self.naive.runs[index].run;
                run.wanted.store(false, Ordering::SeqCst);
                self.ours.hold().leave(run, false, self.now, || {}).start();
                self.end(index, true);
            }
            Step::Signal(which) => {
                let Some(index) = self.pick(which, |phase| phase == Phase::Runs) else { return };
                self.naive.runs[index].run.wanted.store(false, Ordering::SeqCst);
            }
            Step::Limit(scope, limits) => self.limit(&scope, limits),
            Step::Pass(secs) => self.now += Duration::from_secs(secs),
        }
        let (free, next) = self.ours.turn(self.now);
        free.start();
        self.naive.release(self.now);
        let due = self.naive.runs.iter().enumerate().filter_map(due_of).map(|(due, _)| due).min();
        assert_eq!(next, due);
        self.compare();
    }

    fn pick(&self, which: Index, meant: impl Fn(Phase) -> bool) -> Option<usize> {
        let runs = self.naive.runs.iter().enumerate();
        let all: Vec<_> = runs.filter(|(_, it)| meant(it.phase)).map(|(it, _)| it).collect();
        (!all.is_empty()).then(|| all[which.index(all.len())])
    }

    fn submit(&mut self, of: &Submitted, lane: Option<(bool, OnBusy)>, due: u64) {
        let key = |is_first| if is_first { "L" } else { "M" };
        let lane = lane.map(|(is_first, on_busy)| Lane { key: key(is_first).into(), on_busy });
        let not_before = (due > 0).then(|| self.now + Duration::from_secs(due));
        let run = Arc::new(Run {
            id: RunId::from_text(&self.naive.runs.len().to_string()),
            kind: of.kind,
            name: of.name,
            owner: of.owner.map(|owner| owner.to_string().into()),
            gate: Some(Gate {
                lane,
                not_before,
                priority: of.priority,
                is_unlimited: of.is_unlimited,
                ..Gate::default()
            }),
            wanted: AtomicBool::new(true),
            released: AtomicBool::new(false),
        });
        let gated = self.ours.concerns(&run);
        let naive = self.naive.submit(&run, self.now, gated);
        if !gated {
            return run.release();
        }
        self.ours.catch_up(self.now);
        let ours = self.ours.enter(&run, self.now).map(|entered| {
            entered.free.start();
            entered.superseded.iter().map(|run| run.id).collect::<Vec<_>>()
        });
        let sorted = |ids: Result<Vec<_>, _>| {
            ids.map(|mut ids| {
                ids.sort_unstable();
                ids
            })
        };
        assert_eq!(sorted(ours), sorted(naive));
    }

    fn end(&mut self, index: usize, is_over: bool) {
        let entry = &mut self.naive.runs[index];
        entry.phase = if is_over { Phase::Over } else { Phase::Lingers };
        if entry.gated {
            // What quiesces at its end gives back all it has in one step.
            self.ours.hold().leave(&entry.run, is_over, self.now, || {}).start();
        }
    }

    fn quiesced(&self, index: usize) {
        let entry = &self.naive.runs[index];
        if entry.gated {
            self.ours.hold().leave(&entry.run, true, self.now, || {}).start();
        }
    }

    fn limit(&mut self, scope: &Scope, limits: RunLimits) {
        self.naive.limits.retain(|(of, _)| of != scope);
        self.naive.limits.push((scope.clone(), limits));
        // One that has left its queues is not counted in: it has no slot, and will have none.
        let is_out = |it: &&Entry| matches!(it.phase, Phase::Over | Phase::Superseded);
        let live = self.naive.runs.iter().filter(|it| !is_out(it));
        let live: Vec<_> = live.map(|it| &it.run).collect();
        let live = || live.into_iter().map(Arc::clone).collect();
        let counted = RefCell::new(Vec::new());
        let count_in = |run: &Arc<Run>| {
            // As the engine does: those that no limit concerns are none of it.
            if !run.gate().is_some_and(|gate| gate.is_unlimited) {
                self.ours.count_in(run);
            }
            counted.borrow_mut().push(Arc::clone(run));
        };
        self.ours.set_limit(scope, limits, self.now, live, count_in);
        for run in counted.into_inner() {
            let entry = self.naive.runs.iter_mut().find(|it| Arc::ptr_eq(&it.run, &run));
            entry.unwrap().gated = true;
        }
    }

    fn compare(&self) {
        for (index, entry) in self.naive.runs.iter().enumerate() {
            let Entry { run, phase, .. } = entry;
            if *phase == Phase::Over {
                continue;
            }
            let has_started = matches!(phase, Phase::Runs | Phase::Lingers);
            let released = run.released.load(Ordering::SeqCst);
            assert_eq!(released, has_started, "{run:?} in {:#?}", self.naive);
            let position = self.ours.position(run, |at| self.naive.wall(at));
            assert_eq!(position, self.naive.position(index), "{run:?} in {:#?}", self.naive);
        }
    }

    /// Ends everything: then nothing is held.
    fn finish(mut self) {
        for (scope, _) in self.naive.limits.clone() {
            self.take(Step::Limit(scope, RunLimits::new()));
        }
        self.take(Step::Pass(100));
        while let Some(index) = self.naive.runs.iter().position(|it| it.phase != Phase::Over) {
            let Entry { run, phase, .. } = &self.naive.runs[index];
            assert!(!is_queued(*phase) || run.lane().is_some(), "{run:?} waits for nothing");
            match self.naive.runs[index].phase {
                Phase::Lingers => {
                    self.naive.runs[index].phase = Phase::Over;
                    self.quiesced(index);
                }
                _ => self.end(index, true),
            }
        }
        assert_eq!(self.ours.len(), 0, "{:#?}", self.ours);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn i21_what_starts_when_and_what_waits_where_is_as_if_every_run_were_looked_at(
        limits in proptest::collection::vec(any_limit(), 0..4),
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let ours = Admission::new(&[], &[]);
        let now = Instant::now();
        let mut pair = Pair { ours, naive: Naive::new(now), now };
        for step in limits.into_iter().chain(steps) {
            pair.take(step);
        }
        pair.finish();
    }
}

#[test]
fn i39_a_run_that_was_stopped_meanwhile_takes_no_slot_and_leaves_nothing() {
    let now = Instant::now();
    let ours = Admission::new(&[(Scope::All, RunLimits::new().running_max(1))], &[]);
    let run = |lane: bool| {
        let lane = lane.then(|| Lane { key: "L".into(), on_busy: OnBusy::Enqueue });
        let gate = Some(Gate { lane, ..Gate::default() });
        let (wanted, released) = (AtomicBool::new(true), AtomicBool::new(false));
        let (id, kind) = (RunId::from_text("a"), RunKind::Agent);
        Arc::new(Run { id, kind, name: "a", owner: None, gate, wanted, released })
    };
    let runs = [run(true), run(true), run(true), run(false)];
    for run in &runs {
        ours.enter(run, now).unwrap().free.start();
    }
    // They were stopped, and the threads that stopped them have not come here yet.
    runs[1].wanted.store(false, Ordering::SeqCst);
    runs[2].wanted.store(false, Ordering::SeqCst);
    for index in [0, 2, 1] {
        ours.hold().leave(&runs[index], true, now, || {}).start();
    }
    let released = runs.each_ref().map(|run| run.released.load(Ordering::SeqCst));
    assert_eq!(released, [true, false, false, true]);
    ours.hold().leave(&runs[3], true, now, || {}).start();
    assert_eq!(ours.len(), 0);
}

#[test]
fn of_many_that_no_limit_concerns_each_leaves_and_starts_once_however_many_are_due_at_once() {
    let (now, due) = (Instant::now(), Instant::now() + Duration::from_secs(1));
    let ours = Admission::new(&[(Scope::All, RunLimits::new().running_max(0))], &[]);
    let run = |nth: usize| {
        let lane = (nth < 2).then(|| Lane { key: "L".into(), on_busy: OnBusy::Enqueue });
        let (not_before, priority) = (Some(due), i8::from(nth == 1));
        let gate = Gate { lane, not_before, priority, is_unlimited: true, ..Gate::default() };
        let (wanted, released) = (AtomicBool::new(true), AtomicBool::new(false));
        let (id, kind, gate) = (RunId::from_text(&nth.to_string()), RunKind::Agent, Some(gate));
        Arc::new(Run { id, kind, name: "a", owner: None, gate, wanted, released })
    };
    let runs: Vec<_> = (0..600).map(run).collect();
    for run in &runs {
        ours.enter(run, now).unwrap().free.start();
    }
    ours.catch_up(due);
    let is_released = |run: &&Arc<Run>| run.released.load(Ordering::SeqCst);
    assert_eq!(runs.iter().filter(is_released).count(), 599, "one waits for its lane");
    assert!(!is_released(&&runs[0]), "the other one has come first");
    for run in runs.iter().rev() {
        ours.hold().leave(run, true, due, || {}).start();
    }
    assert_eq!(ours.len(), 0);
    assert_eq!(runs.iter().filter(is_released).count(), 600);
}
