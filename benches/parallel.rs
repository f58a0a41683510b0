//! What does a parallel step cost, against the same written by hand with a `JoinSet` and tokens?
//!
//! 1,000 branches under `all`, `settle`, `first_success` and `quorum(100)`, from the first start to
//! 1,000 branches under `all`, `settle`, `first_success` and `quorum(100)`, first start to last
//! end. Branches yield once and are through, but for the losers of the last two: these wait to be
//! stopped. The hand-made step has what a step is for: a token per branch below one for the
//! name, its times and how it ended. Ours has ids, causes, events, deadlines, a fence and a report
//! besides.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::expect_used, reason = "a bench that cannot go on says so and stops")]
#![expect(clippy::panic, reason = "a bench that cannot go on says so and stops")]

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use quell::{Engine, Failure, RunContext, RunSpec, testing};
use quell_benches::figures::{compare, section};
use quell_benches::race::{Race, Ring, Stopwatch, Took, is_wanted};
use quell_flow::{Parallel, Policy, Settled};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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
    let shape = "1 000 branches, 5 steps a round; theirs: JoinSet and tokens, with rows";
    for (name, case) in cases.into_iter().filter(|(name, _)| is_wanted(name)) {
        section(&format!("a parallel step under {name}"), shape);
        let race = Race::run(
            ROUNDS,
            || ring.drive(timed(our_steps(ring.engine.clone(), case))),
            || ring.drive(timed(their_steps(case))),
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
            ctx.stopped().await;
            Err(Failure::new("too late"))
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

async fn their_steps(case: Case) {
    for _ in 0..STEPS {
        let flow = CancellationToken::new();
        let settled = tokio::spawn(async move { their_step(&flow, case).await });
        let settled = settled.await.expect("nobody panics");
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
struct Row {
    /// Kept for whoever prints the rows.
    #[expect(dead_code, reason = "nobody prints in a bench, but the name is there as on our side")]
    name: Arc<str>,
    started_at: SystemTime,
    ended_at: SystemTime,
    /// How it ended; none if it gave way to the stop.
    end: Option<Result<(), &'static str>>,
}

/// A branch that is through.
struct Through {
    branch: usize,
    started_at: SystemTime,
    ended_at: SystemTime,
    /// None if it gave way to the stop.
    end: Option<Result<usize, &'static str>>,
}

async fn their_step(flow: &CancellationToken, case: Case) -> ByHand {
    let (step, mut branches) = (flow.child_token(), JoinSet::new());
    let mut rows: Vec<Row> = Vec::with_capacity(BRANCHES);
    for branch in 0..BRANCHES {
        let token = step.child_token();
        let now = SystemTime::now();
        rows.push(Row { name: name(branch).into(), started_at: now, ended_at: now, end: None });
        branches.spawn(async move {
            let started_at = SystemTime::now();
            let end = their_body(&token, branch, case.does(branch)).await;
            Through { branch, started_at, ended_at: SystemTime::now(), end }
        });
    }
    let mut values: Vec<Option<usize>> = vec![None; BRANCHES];
    let mut ok = 0;
    while let Some(ended) = branches.join_next().await {
        let Through { branch, started_at, ended_at, end } = ended.expect("nobody panics");
        let row = &mut rows[branch];
        (row.started_at, row.ended_at) = (started_at, ended_at);
        row.end = end.map(|end| end.map(drop));
        if let Some(Ok(value)) = end {
            values[branch] = Some(value);
            ok += 1;
        }
        if ok == case.values() && matches!(case, Case::FirstSuccess | Case::Quorum) {
            step.cancel();
        }
    }
    ByHand { values, rows }
}

async fn their_body(
    token: &CancellationToken,
    branch: usize,
    does: Does,
) -> Option<Result<usize, &'static str>> {
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
            Some(Err("no"))
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
