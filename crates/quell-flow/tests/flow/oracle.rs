//! Random steps: policies, delays, failures, cleanups, limits, words for losers and stops, against
//! a simulation that asks the same pure policy.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use quell::{CancelRequest, Failure, RunContext, testing};
use quell_flow::{
    Branch, Decision, End, Ended, OnLoser, OnTimeout, Parallel, Policy, SoFar, Verdict,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::oracle::simulation::{Course, Expected, World, simulate};
use crate::support::{Witness, engine, millis, secs, submit, summary};

mod simulation {
    use super::{Decision, End, Ended, OnLoser, Policy, SoFar};

    /// What a branch would do if nobody stopped it, and how it takes a stop.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Course {
        pub(super) time: u64,
        pub(super) end: &'static str,
        /// What it takes to clean up, if it listens.
        pub(super) cleanup: Option<u64>,
    }

    /// A step, in units of time that are far apart for the clock.
    #[derive(Debug)]
    pub(super) struct World {
        pub(super) policy: Policy<usize>,
        pub(super) limit: usize,
        pub(super) on_loser: OnLoser,
        pub(super) stop: Option<u64>,
        pub(super) branches: Vec<Course>,
    }

    /// How a branch should stand in the end: status, what it counted as, when it ended.
    pub(super) type Row = (&'static str, &'static str, Option<u64>);

    #[derive(Debug)]
    pub(super) struct Expected {
        pub(super) decision: Option<(u64, Decision)>,
        pub(super) values: Vec<usize>,
        pub(super) settled_at: u64,
        pub(super) is_stopped: bool,
        pub(super) rows: Vec<Row>,
    }

    struct Sim<'a> {
        world: &'a World,
        now: u64,
        /// When each branch that was started ends by itself.
        running: Vec<(u64, usize)>,
        next: usize,
        next_start: u64,
        deadline: Option<u64>,
        ended: Vec<Ended<usize>>,
        decision: Option<Decision>,
        rows: Vec<Row>,
    }

    /// Plays a world; none if two things happen at once, so that either order would be right.
    pub(super) fn simulate(world: &World) -> Option<Expected> {
        let unit = |time: std::time::Duration| u64::try_from(time.as_millis() / 20).unwrap();
        let mut sim = Sim {
            world,
            now: 0,
            running: Vec::new(),
            next: 0,
            next_start: 0,
            deadline: world.policy.deadline_after().map(unit),
            ended: Vec::new(),
            decision: None,
            rows: vec![("cancelled", "noise", None); world.branches.len()],
        };
        let stagger = world.policy.staggered_by().map_or(0, unit);
        sim.decide(false);
        while sim.decision.is_none() {
            sim.start(stagger);
            let ends = sim.running.iter().map(|(at, _)| *at);
            let waits = sim.next < world.branches.len() && sim.running.len() < world.limit;
            let tick = (waits && stagger > 0).then_some(sim.next_start);
            let mut next: Vec<_> = ends.chain(tick).chain(sim.deadline).chain(world.stop).collect();
            next.sort_unstable();
            if next.windows(2).any(|pair| pair[0] == pair[1]) {
                return None;
            }
            sim.now = *next.first()?;
            if world.stop == Some(sim.now) {
                return sim.finish(true);
            }
            if sim.deadline == Some(sim.now) {
                sim.deadline = None;
                sim.decide(true);
            } else if let Some(place) = sim.running.iter().position(|(at, _)| *at == sim.now) {
                let (_, branch) = sim.running.remove(place);
                sim.end(branch);
            }
        }
        sim.finish(false)
    }

    impl Sim<'_> {
        fn start(&mut self, stagger: u64) {
            while self.next < self.rows.len()
                && self.running.len() < self.world.limit
                && (self.running.is_empty() || self.now >= self.next_start)
            {
                self.running.push((self.now + self.world.branches[self.next].time, self.next));
                self.next += 1;
                self.next_start = self.now + stagger;
            }
        }

        fn end(&mut self, branch: usize) {
            let (end, status, counted) = match self.world.branches[branch].end {
                "ok" => (End::Ok(branch), "completed", "ok"),
                "skip" => (End::Skipped, "timed-out", "skipped"),
                "default" => (End::Ok(branch), "timed-out", "default"),
                _ => (End::Failed("no".into()), "failed", "failed"),
            };
            self.rows[branch] = (status, counted, Some(self.now));
            self.ended.push(Ended::new(branch, branch.to_string(), end));
            self.decide(false);
        }

        fn decide(&mut self, is_over: bool) {
            let so_far = SoFar::new(self.rows.len(), &self.ended);
            let so_far = if is_over { so_far.at_deadline() } else { so_far };
            self.decision = self.world.policy.decide(&so_far);
        }

        /// Ends what runs as the word for losers, or the stop, has it.
        fn finish(mut self, is_stopped: bool) -> Option<Expected> {
            let decided_at = self.now;
            let mut settled_at = decided_at;
            for place in self.next..self.rows.len() {
                let counted = if is_stopped { "noise" } else { "skipped" };
                self.rows[place] = ("cancelled", counted, None);
            }
            // The instant at which a loser hears a stop, if one reaches it.
            let told = match self.world.on_loser {
                _ if is_stopped => Some(decided_at),
                OnLoser::Cancel => Some(decided_at),
                OnLoser::Detach => None,
                _ => self.world.stop.filter(|stop| *stop >= decided_at),
            };
            for &(at, branch) in &self.running {
                let course = self.world.branches[branch];
                if !is_stopped && self.world.on_loser == OnLoser::Detach {
                    self.rows[branch] = ("running", "noise", None);
                    continue;
                }
                let natural = match course.end {
                    "ok" => "completed",
                    "skip" | "default" => "timed-out",
                    _ => "failed",
                };
                let (status, end) = match told {
                    Some(told) if told == at => return None,
                    Some(told) if told < at => ("cancelled", told + course.cleanup.unwrap_or(0)),
                    _ => (natural, at),
                };
                self.rows[branch] = (status, "noise", Some(end));
                settled_at = settled_at.max(end);
            }
            let late_stop = self.world.stop.filter(|stop| *stop <= settled_at);
            if !is_stopped && late_stop.is_some_and(|stop| stop == settled_at || stop == decided_at)
            {
                return None;
            }
            let mut values: Vec<usize> = self
                .ended
                .iter()
                .filter(|one| matches!(one.end, End::Ok(_)))
                .map(|one| one.branch)
                .collect();
            values.sort_unstable();
            Some(Expected {
                decision: self.decision.map(|decision| (decided_at, decision)),
                values,
                settled_at,
                is_stopped: is_stopped || late_stop.is_some(),
                rows: self.rows,
            })
        }
    }
}

/// Makes a world of a seed.
fn world(seed: u64) -> World {
    let mut random = fastrand::Rng::with_seed(seed);
    let n = random.usize(0..8);
    let (k, time) = (random.usize(0..=n + 1), millis(UNIT) * random.u32(1..60));
    let policy = match random.u8(0..8) {
        0 => Policy::all(),
        1 => Policy::settle(),
        2 => Policy::first_success(),
        3 => Policy::first_settled(),
        4 => Policy::quorum(k),
        5 => Policy::until(move |so_far: &SoFar<'_, usize>| so_far.ok > k / 2),
        6 => Policy::best_effort(time, k),
        _ => Policy::hedge(time),
    };
    let ends = ["ok", "ok", "ok", "fail", "panic", "skip", "default"];
    let branches = (0..n).map(|_| Course {
        time: random.u64(1..80),
        end: ends[random.usize(0..ends.len())],
        cleanup: random.bool().then(|| random.u64(1..20)),
    });
    let branches = branches.collect();
    let on_loser = [OnLoser::Cancel, OnLoser::LetFinish, OnLoser::Detach][random.usize(0..3)];
    let limit = if random.bool() { usize::MAX } else { random.usize(1..4) };
    let stop = random.bool().then(|| random.u64(1..120));
    World { policy, limit, on_loser, stop, branches }
}

fn branch_of(place: usize, course: Course, witness: Witness) -> Branch<usize> {
    let body = async move |ctx: RunContext| {
        let _inside = witness.enter();
        let time = millis(course.time * UNIT);
        let is_timeout = matches!(course.end, "skip" | "default");
        let work = if is_timeout { secs(1_000) } else { time };
        match course.cleanup {
            None => sleep(work).await,
            // One that times out ends at once then, so that its end is its deadline.
            Some(cleanup) => {
                if let Err(stopped) = ctx.run_until_stopped(sleep(work)).await {
                    if stopped.cause.origin != ctx.id() || !is_deadline(&stopped) {
                        sleep(millis(cleanup * UNIT)).await;
                    }
                    return Err(Failure::new("late"));
                }
            }
        }
        match course.end {
            "ok" => Ok(place),
            // Without the noise of a hook, which would drown the report of a failure.
            "panic" => std::panic::resume_unwind(Box::new("no")),
            _ => Err(Failure::new("no")),
        }
    };
    let branch = Branch::new(place.to_string(), body).grace(secs(5));
    match course.end {
        "skip" => branch.timeout(millis(course.time * UNIT)).on_timeout(OnTimeout::Skip),
        "default" => {
            branch.timeout(millis(course.time * UNIT)).on_timeout(OnTimeout::Default(place))
        }
        _ => branch,
    }
}

/// Tells the branch's own deadline from that of a policy.
fn is_deadline(stopped: &quell::Stopped) -> bool {
    stopped.cause.message.as_deref() == Some("timeout over")
}

/// Plays a world for real and compares.
async fn play(world: &World, expected: &Expected) {
    let (engine, witness) = (engine(), Witness::default());
    let mut step = Parallel::new("step")
        .policy(world.policy.clone())
        .on_loser(world.on_loser)
        .limit(world.limit);
    for (place, course) in world.branches.iter().enumerate() {
        step = step.with_branch(branch_of(place, *course, witness.clone()));
    }
    let start = Instant::now();
    let run = submit(&engine, step);
    let root = run.run().clone();
    if let Some(stop) = world.stop {
        let root = root.clone();
        tokio::spawn(async move {
            sleep(millis(stop * UNIT)).await;
            root.cancel(CancelRequest::because("enough").grace(secs(5)));
        });
    }
    let outcome = run.outcome().await.into_value();
    let report = root.quiescent().await;
    assert!(witness.most() <= world.limit, "limit");
    let took = start.elapsed();
    assert_eq!(units(took), expected.settled_at.max(stopped_at(world, expected)), "settled");
    check_outcome(outcome, expected);
    check_summary(&summary(&report), expected);
    testing::check_trace(&testing::trace(&root).await).unwrap();
    sleep(secs(10_000)).await;
    assert_eq!(witness.inside(), 0, "a body runs");
    assert_eq!(testing::held(&engine).live, 0, "a run lives");
}

/// A flow that is stopped while its step is not settled ends when that is.
fn stopped_at(world: &World, expected: &Expected) -> u64 {
    world.stop.filter(|_| expected.is_stopped).unwrap_or_default()
}

fn check_outcome(
    outcome: Option<Result<quell_flow::Settled<usize>, Failure>>,
    expected: &Expected,
) {
    let Some(outcome) = outcome else {
        assert!(expected.is_stopped, "no outcome");
        return;
    };
    match (&expected.decision, outcome) {
        (_, Err(failure)) if expected.is_stopped => assert!(failure.stopped().is_some()),
        (Some((_, decision)), Ok(settled)) if !expected.is_stopped => {
            assert_eq!(decision.verdict, Verdict::Values);
            assert_eq!(settled.into_values(), expected.values);
        }
        (Some((_, decision)), Err(failure)) => {
            assert_ne!(decision.verdict, Verdict::Values, "{failure}");
            assert!(failure.stopped().is_none(), "{failure}");
        }
        (_, outcome) => panic!("unexpected {:?}", outcome.map(|settled| settled.values)),
    }
}

fn check_summary(summary: &Value, expected: &Expected) {
    let rows = summary["branches"].as_array().unwrap();
    let at = |value: &Value| value.as_str().map(|at| humantime::parse_rfc3339(at).unwrap());
    // The step itself starts with its first branch, if it starts any.
    let start = rows.iter().filter_map(|row| at(&row["started_at"])).min();
    let since = |value: &Value| {
        let at = at(value)?;
        Some(start.map_or(0, |start| units(at.duration_since(start).unwrap())))
    };
    let decision = expected.decision.as_ref();
    assert_eq!(since(&summary["decided_at"]), decision.map(|(at, _)| *at), "decided_at");
    let by = decision.and_then(|(_, decision)| decision.by).map(|by| by.to_string());
    assert_eq!(summary["decided_by"].as_str(), by.as_deref(), "decided_by");
    if decision.is_some() {
        assert_eq!(since(&summary["settled_at"]), Some(expected.settled_at), "settled_at");
    }
    assert_eq!(rows.len(), expected.rows.len(), "every branch appears exactly once");
    for (place, (row, (status, counted, ended))) in rows.iter().zip(&expected.rows).enumerate() {
        assert_eq!(row["name"], place.to_string());
        let stands = (row["status"].as_str().unwrap(), row["counted_as"].as_str().unwrap());
        assert_eq!(stands, (*status, *counted), "branch {place}");
        assert_eq!(since(&row["ended_at"]), *ended, "branch {place}");
        assert_eq!(row["run"].is_null(), ended.is_none() && *status != "running");
    }
}

/// Units of time, to the nearest: timers of the paused clock round up to a millisecond each.
fn units(time: std::time::Duration) -> u64 {
    (u64::try_from(time.as_millis()).unwrap() + UNIT / 2) / UNIT
}

/// Milliseconds of a unit: more than all the rounding of a chain of timers.
const UNIT: u64 = 20;

const ROUNDS: u64 = 2_000;

/// `QUELL_SEED` repeats one world, `QUELL_LONG=1` plays ten times as many.
#[test]
fn a_step_does_what_its_pure_policy_says_in_every_random_world() {
    let long = std::env::var("QUELL_LONG").is_ok_and(|long| long == "1");
    let given = std::env::var("QUELL_SEED").ok().and_then(|seed| seed.parse().ok());
    let first: u64 = given.unwrap_or_else(|| fastrand::u64(..));
    let rounds = if given.is_some() {
        1
    } else if long {
        ROUNDS * 10
    } else {
        ROUNDS
    };
    let (mut played, mut seen) = (0, [0; 4]);
    for seed in (0..rounds).map(|round| first.wrapping_add(round)) {
        let world = world(seed);
        let Some(expected) = simulate(&world) else { continue };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let end = runtime.block_on(AssertUnwindSafe(play(&world, &expected)).catch_unwind());
        if let Err(panic) = end {
            let words = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("repeat with QUELL_SEED={seed}: {words}\n{world:#?}\n{expected:#?}");
        }
        played += 1;
        let sort = match &expected.decision {
            _ if expected.is_stopped => 0,
            Some((_, decision)) if decision.verdict == Verdict::Values => 1,
            Some(_) => 2,
            None => 3,
        };
        seen[sort] += 1;
    }
    if given.is_none() {
        assert!(played > rounds / 2, "too many worlds with two things at once: {played}");
        assert!(seen[..3].iter().all(|seen| seen * 20 > played), "{seen:?} of {played}");
        assert_eq!(seen[3], 0);
    }
}
