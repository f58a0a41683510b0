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

mod simulation;

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
    let needs = needs(&mut random, n);
    World { policy, limit, on_loser, stop, branches, needs }
}

/// Draws for each branch those that it needs, in half of the worlds.
fn needs(random: &mut fastrand::Rng, branches: usize) -> Vec<Vec<usize>> {
    let mut needs = vec![Vec::new(); branches];
    if random.bool() {
        // Each needs some of those before it in an order of its own, so that there is no circle.
        let mut order: Vec<usize> = (0..branches).collect();
        random.shuffle(&mut order);
        for (at, branch) in order.iter().enumerate() {
            needs[*branch] = order[..at].iter().copied().filter(|_| random.u8(0..4) == 0).collect();
        }
    }
    needs
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
        let needs = world.needs[place].iter().map(ToString::to_string);
        step = step.with_branch(branch_of(place, *course, witness.clone()).needs(needs));
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
    check_needs(&summary(&report), world, expected);
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

/// A branch that never starts because of what it needs names one that did not complete.
fn check_needs(summary: &Value, world: &World, expected: &Expected) {
    let row = |place: usize| &summary["branches"][place];
    for (place, needs) in world.needs.iter().enumerate() {
        let unmet = row(place)["unmet"].as_str().map(|need| need.parse::<usize>().unwrap());
        assert_eq!(unmet.is_some(), expected.given_up[place], "branch {place}");
        let is_true = |need: usize| needs.contains(&need) && row(need)["counted_as"] != "ok";
        assert!(unmet.is_none_or(is_true), "branch {place} needs {unmet:?}");
        if !row(place)["run"].is_null() {
            for need in needs {
                assert_eq!(row(*need)["counted_as"], "ok", "{place} started before {need}");
                let (end, start) = (&row(*need)["ended_at"], &row(place)["started_at"]);
                assert!(start.is_null() || end.as_str() <= start.as_str(), "{place} and {need}");
            }
        }
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
