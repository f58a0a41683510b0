//! What does a parallel step cost, against the same written by hand with a `JoinSet` and tokens?
//!
//! 1,000 branches under `all`, `settle`, `first_success` and `quorum(100)`, from the first start to
//! the last end. Branches yield once and are through, but for the losers of the last two: these
//! wait to be stopped and give way.
//!
//! The hand-made side does what a step is for, with the hand-made peer of the other benches: flow,
//! step and branches each have an id, a name, a token below that of the parent and an entry in a
//! map by id; the step yields a row per branch with id, name, how it ended and why it was stopped,
//! and its times. It makes no events, has no status while it runs, no deadlines and no fence; ours
//! has all of these. Ours keeps its rows as the output of the step besides, whose text is written
//! for the first who reads it: here, nobody does.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]
#![expect(clippy::panic, reason = "a bench that cannot go on says so and stops")]

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use quell::{Engine, Failure, RunContext, RunSpec, Stopped, testing};
use quell_benches::figures::{compare, section};
use quell_benches::peer::Peer;
use quell_benches::race::{Race, Ring, Stopwatch, Took, is_wanted};
use quell_flow::{Parallel, Policy, Settled};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A policy, and what the branches do under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    All,
    Settle,
    FirstSuccess,
    Quorum,
}

/// What a branch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Succeed,
    Fail,
    Wait,
}

fn main() {
    let ring = Ring::new(|_| {});
    let cases = [
        ("all", Case::All),
        ("settle", Case::Settle),
        ("first_success", Case::FirstSuccess),
        ("quorum", Case::Quorum),
    ];
    let shape = "1 000 branches, 5 steps a round; theirs: JoinSet and tokens, ids, map, rows";
    for (name, case) in cases.into_iter().filter(|(name, _)| is_wanted(name)) {
        section(&format!("a parallel step under {name}"), shape);
        let race = Race::run(
            ROUNDS,
            || ring.drive(timed(our_steps(ring.engine.clone(), case))),
            || ring.drive(timed(their_steps(ring.peer.clone(), case))),
        );
        compare(&format!("parallel/{name}"), BRANCHES * STEPS, &race);
    }
    if is_wanted("check") {
        check_a_sampled_round(&ring);
    }
}

impl Case {
    fn does(self, branch: usize) -> Does {
        match self {
            Self::Settle if branch.is_multiple_of(2) => Does::Fail,
            Self::All | Self::Settle => Does::Succeed,
            // Somewhere in the middle, so that there are losers before and after.
            Self::FirstSuccess if branch == BRANCHES / 2 => Does::Succeed,
            Self::Quorum if branch.is_multiple_of(BRANCHES / QUORUM) => Does::Succeed,
            Self::FirstSuccess | Self::Quorum => Does::Wait,
        }
    }

    fn policy(self) -> Policy<usize> {
        match self {
            Self::All => Policy::all(),
            Self::Settle => Policy::settle(),
            Self::FirstSuccess => Policy::first_success(),
            Self::Quorum => Policy::quorum(QUORUM),
        }
    }

    /// How many values there are.
    const fn values(self) -> usize {
        match self {
            Self::All => BRANCHES,
            Self::Settle => BRANCHES / 2,
            Self::FirstSuccess => 1,
            Self::Quorum => QUORUM,
        }
    }
}

async fn our_steps(engine: Engine, case: Case) {
    for _ in 0..STEPS {
        let step = our_step(case);
        let run = engine.submit(RunSpec::workflow("flow"), async move |ctx| step.run(&ctx).await);
        let settled = run.expect("there is room").await.expect("the step succeeds");
        check(&settled, case);
    }
}

fn our_step(case: Case) -> Parallel<usize> {
    let branches = (0..BRANCHES).map(|branch| {
        let body = move |ctx: RunContext| our_body(ctx, branch, case.does(branch));
        (name(branch), body)
    });
    Parallel::new("step").policy(case.policy()).branches(branches)
}

async fn our_body(ctx: RunContext, branch: usize, does: Does) -> Result<usize, Failure> {
    match does {
        Does::Wait => {
            let cause = ctx.stopped().await;
            Err(Stopped { cause }.into())
        }
        Does::Succeed => {
            tokio::task::yield_now().await;
            Ok(branch)
        }
        Does::Fail => {
            tokio::task::yield_now().await;
            Err(Failure::new("no"))
        }
    }
}

fn check(settled: &Settled<usize>, case: Case) {
    assert_eq!(settled.values.iter().flatten().count(), case.values());
    assert_eq!(settled.rows.len(), BRANCHES);
}

async fn their_steps(peer: Peer, case: Case) {
    for _ in 0..STEPS {
        let inner = peer.clone();
        let flow = peer.submit("flow", async move |flow| {
            let spawner = inner.clone();
            let step = async move |step| their_step(spawner, step, case).await;
            inner.spawn(&flow, "step", step).join.await
        });
        let settled = flow.join.await.expect("nobody panics").expect("nobody panics");
        assert_eq!(settled.values.iter().flatten().count(), case.values());
        assert_eq!(settled.rows.len(), BRANCHES);
        assert!(settled.rows.iter().all(|row| row.ended_at >= row.started_at));
    }
}

/// What the hand-made step yields.
struct ByHand {
    values: Vec<Option<usize>>,
    rows: Vec<Row>,
}

/// What it knows of a branch.
#[expect(dead_code, reason = "nobody prints in a bench, but they are there as on our side")]
struct Row {
    id: Uuid,
    name: Arc<str>,
    queued_at: SystemTime,
    started_at: SystemTime,
    ended_at: SystemTime,
    /// How it ended; none if it gave way to the stop.
    end: Option<Result<(), Arc<str>>>,
    /// Why it was stopped, if it was, and when.
    stopped: Option<(Arc<str>, SystemTime)>,
}

/// A branch that is through.
struct Through {
    branch: usize,
    started_at: SystemTime,
    ended_at: SystemTime,
    /// None if it gave way to the stop.
    end: Option<Result<usize, Box<dyn Error + Send + Sync>>>,
}

async fn their_step(peer: Peer, step: CancellationToken, case: Case) -> ByHand {
    let mut branches = JoinSet::new();
    let mut rows: Vec<Row> = Vec::with_capacity(BRANCHES);
    for branch in 0..BRANCHES {
        let name: Arc<str> = name(branch).into();
        let now = SystemTime::now();
        let id = peer.spawn_in(&mut branches, &step, Arc::clone(&name), async move |token| {
            let started_at = SystemTime::now();
            let end = their_body(&token, branch, case.does(branch)).await;
            Through { branch, started_at, ended_at: SystemTime::now(), end }
        });
        let (queued_at, started_at, ended_at) = (now, now, now);
        rows.push(Row { id, name, queued_at, started_at, ended_at, end: None, stopped: None });
    }
    let mut values: Vec<Option<usize>> = vec![None; BRANCHES];
    let (mut ok, mut stopped) = (0, None);
    while let Some(ended) = branches.join_next().await {
        let Through { branch, started_at, ended_at, end } = ended.expect("nobody panics");
        let row = &mut rows[branch];
        (row.started_at, row.ended_at) = (started_at, ended_at);
        match end {
            Some(Ok(value)) => {
                (row.end, values[branch]) = (Some(Ok(())), Some(value));
                ok += 1;
            }
            Some(Err(error)) => row.end = Some(Err(error.to_string().into())),
            None => row.stopped.clone_from(&stopped),
        }
        let is_race = matches!(case, Case::FirstSuccess | Case::Quorum);
        if is_race && ok == case.values() && stopped.is_none() {
            let why = format!("decided by branch `{}`", rows[branch].name);
            stopped = Some((why.into(), SystemTime::now()));
            step.cancel();
        }
    }
    ByHand { values, rows }
}

async fn their_body(
    token: &CancellationToken,
    branch: usize,
    does: Does,
) -> Option<Result<usize, Box<dyn Error + Send + Sync>>> {
    match does {
        Does::Wait => {
            token.cancelled().await;
            None
        }
        Does::Succeed => {
            tokio::task::yield_now().await;
            Some(Ok(branch))
        }
        Does::Fail => {
            tokio::task::yield_now().await;
            Some(Err("no".into()))
        }
    }
}

fn name(branch: usize) -> String {
    format!("branch {branch}")
}

async fn timed(round: impl Future<Output = ()> + Send) -> Took {
    let watch = Stopwatch::start();
    round.await;
    watch.stop()
}

fn check_a_sampled_round(ring: &Ring) {
    let engine = ring.engine.clone();
    let checked = ring.drive(async move {
        let step = our_step(Case::Quorum);
        let run = engine.submit(RunSpec::workflow("flow"), async move |ctx| step.run(&ctx).await);
        let run = run.expect("there is room");
        let root = run.run().clone();
        check(&run.await.expect("the step succeeds"), Case::Quorum);
        testing::check_trace(&testing::trace(&root).await)
    });
    match checked {
        Ok(checked) => println!("\na sampled round passes the trace checker: {checked:?}"),
        Err(what) => panic!("a sampled round breaks a promise: {what}"),
    }
}

/// Branches of a step.
const BRANCHES: usize = 1_000;

/// How many of them make a quorum.
const QUORUM: usize = 100;

/// Steps of a round, one after the other.
const STEPS: usize = 5;

/// Rounds of a race.
const ROUNDS: usize = 31;
