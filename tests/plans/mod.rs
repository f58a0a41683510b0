//! Random plans, stopped at a random instant: the trace, the report and a witness outside of the
//! engine tell the same story.

mod bodies;
mod shapes;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use quell::{
    CancelRequest, Disposition, EventKind, Failure, RunFilter, RunRef, RunReport, RunRow,
    RunStatus, testing,
};
use quell_flow::Plan;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::support::*;
use bodies::Bodies;

/// How a plan is stopped, if it is.
struct Stop {
    after: Duration,
    request: CancelRequest,
    grace: Duration,
    /// Whether the body of the plan is given time to say what it has.
    is_gentle: bool,
}

impl Stop {
    fn random(rng: &mut Rng) -> Self {
        let grace = ms(rng.u64(0..40));
        let request = CancelRequest::because("stopped at random").grace(grace);
        let (request, is_gentle) = match rng.u8(0..8) {
            0 => (request.abort(), false),
            1 => (request.after_step(Some(ms(20))), true),
            _ => (request, true),
        };
        Self { after: ms(rng.u64(0..50)), request, grace, is_gentle }
    }
}

/// What became of one plan.
struct Played {
    report: Arc<RunReport>,
    answer: Disposition,
    bodies: Bodies,
    /// From the stop to the end.
    took: Duration,
}

async fn play(lab: &Lab, plan: Plan, stop: &Stop) -> Played {
    let bodies = Bodies::default();
    let runner = bodies.clone();
    let run = lab.submit(plan.spec(), move |ctx| plan.run(ctx, runner)).unwrap().into_ref();
    // A plan that is through before its stop is asked anyway: the answer says so.
    let ended = timeout(stop.after, run.ended()).await;
    if ended.is_ok() {
        sleep(ms(1)).await;
    }
    let asked = Instant::now();
    let answer = run.cancel(stop.request.clone());
    if let Disposition::Accepted { .. } = answer {
        bodies.close();
    }
    let report = within("the plan ends", run.ended()).await;
    let took = asked.elapsed();
    if report.quiescent {
        assert_nobody_inside(lab, &bodies);
    }
    within("the plan is quiescent", run.quiescent()).await;
    assert_nobody_inside(lab, &bodies);
    Played { report: run.report(), answer, bodies, took }
}

/// Makes sure that nothing of the plan runs. Of a plan that a branch has left the witness cannot
/// tell whose bodies run.
fn assert_nobody_inside(lab: &Lab, bodies: &Bodies) {
    let has_left = lab.runs(&RunFilter::new().roots()).len() > 1;
    assert!(has_left || bodies.inside() == 0, "{} bodies run afterwards", bodies.inside());
}

fn check(played: &Played, stop: &Stop, early: &[String]) {
    let Played { report, answer, bodies, took } = played;
    assert_eq!(bodies.intruders(), Vec::<String>::new(), "started after the stop");
    match answer {
        Disposition::Accepted { .. } => {
            assert_eq!(report.status, RunStatus::Cancelled, "an accepted stop is a stop (I9)");
            let bound = stop.grace + ABORT_WAIT + ms(1);
            assert!(*took <= bound, "terminal after {took:?}, not within {bound:?} (I12)");
        }
        Disposition::AlreadyTerminal { status } => assert_eq!(*status, report.status),
        Disposition::AlreadyStopping { .. } | Disposition::Escalated { .. } => {
            assert!(matches!(report.status, RunStatus::TimedOut | RunStatus::Cancelled));
        }
        Disposition::Scheduled { .. } => assert!(report.status.is_terminal()),
        other => panic!("answered {other:?}"),
    }
    check_outputs(report, stop, early);
}

/// What was finished is in the report (I17). Steps that are early have their output when they are
/// decided, whatever becomes of them.
fn check_outputs(report: &RunReport, stop: &Stop, early: &[String]) {
    let is_late = |name: &&str| early.iter().all(|early| early != name);
    let root = report.own_row();
    let output = root.output.as_ref().or(root.partial.as_ref());
    let outputs: Value = output.map_or(Value::Null, |output| output.parse().unwrap());
    let known: Vec<&str> =
        outputs.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let known: Vec<&str> = known.into_iter().filter(is_late).collect();
    let steps = report.rows.iter().filter(|row| row.depth == 1 && !row.name.starts_with("on_"));
    let done = steps.filter(|row| row.status == RunStatus::Completed);
    let mut done: Vec<&str> = done.map(|row| &*row.name).filter(is_late).collect();
    done.sort_unstable();
    let is_whole = stop.is_gentle && !stop.grace.is_zero() && report.quiescent;
    if is_whole && report.status != RunStatus::Failed {
        assert_eq!(known, done, "{outputs}: {}", told(report));
    }
    for name in known {
        assert!(
            done.contains(&name),
            "{name} has an output and was not through:\n{}",
            told(report)
        );
    }
}

fn told(report: &RunReport) -> String {
    let line = |row: &RunRow| {
        let end = row.ended_at.and_then(|at| at.duration_since(row.queued_at).ok());
        let (kind, name, status) = (row.kind, &row.name, row.status);
        format!("{:depth$}{kind} {name}: {status} {end:?}\n", "", depth = row.depth as usize * 2)
    };
    report.rows.iter().map(line).collect()
}

/// Stops what has left the plan, and yields every root.
async fn all_at_rest(lab: &Lab) -> Vec<RunRef> {
    loop {
        let roots = lab.runs(&RunFilter::new().roots());
        for root in &roots {
            root.cancel(CancelRequest::because("the plan is over").abort());
            within("a root is quiescent", root.quiescent()).await;
        }
        if lab.runs(&RunFilter::new().roots()).len() == roots.len() {
            return roots;
        }
    }
}

/// Every body that ran is in the log of its tree, and none that did not.
async fn check_logs(lab: &Lab, bodies: &Bodies) -> Result<usize, Failure> {
    let mut told = 0;
    let roots = all_at_rest(lab).await;
    for root in &roots {
        let trace = testing::trace(root).await;
        testing::check_trace(&trace).map_err(Failure::new)?;
        told += trace.iter().filter(|event| is_entry(&event.kind)).count();
    }
    assert_eq!(told, bodies.entered(), "the log and the witness differ");
    Ok(roots.len())
}

fn is_entry(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Emitted(payload) if payload.as_json() == "\"entered\"")
}

#[test]
fn i8_random_plans_stopped_at_random_end_in_time_and_tell_what_happened() {
    let mut counts = Counts::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    for (_seed, mut rng) in seeds(PLANS) {
        runtime.block_on(round(&mut rng, &mut counts));
    }
    counts.assert_interesting();
}

/// The steps at the top whose successor starts when they are decided.
fn early(plan: &str) -> Vec<String> {
    let plan: Value = serde_json::from_str(plan).unwrap();
    let steps = plan["steps"].as_array().unwrap().iter();
    let early = steps.filter(|step| step["parallel"]["start_next"] == "decided");
    early.map(|step| step["name"].as_str().unwrap().to_owned()).collect()
}

/// Shows a plan when a test panics while it is alive.
struct Shown<'a>(&'a str);

impl Drop for Shown<'_> {
    #[expect(clippy::print_stderr, reason = "a failed round has to show its plan")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

async fn round(rng: &mut Rng, counts: &mut Counts) {
    let text = shapes::plan(rng);
    let plan = Plan::from_json(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
    let stop = Stop::random(rng);
    let lab = Lab::paused();
    let played = play(&lab, plan, &stop).await;
    let shown = Shown(&text);
    check(&played, &stop, &early(&text));
    let roots = check_logs(&lab, &played.bodies).await.unwrap_or_else(|words| panic!("{words}"));
    drop(shown);
    lab.finish_unchecked("every log was checked above").await;
    counts.add(&played, roots);
}

/// Whether the random plans were worth it.
#[derive(Debug, Default)]
struct Counts {
    plans: usize,
    accepted: usize,
    completed: usize,
    failed: usize,
    timed_out: usize,
    non_quiescent: usize,
    cleaned: usize,
    detached: usize,
    bodies: usize,
}

impl Counts {
    fn add(&mut self, played: &Played, roots: usize) {
        let is = |status| usize::from(played.report.status == status);
        self.plans += 1;
        self.accepted += usize::from(matches!(played.answer, Disposition::Accepted { .. }));
        self.completed += is(RunStatus::Completed);
        self.failed += is(RunStatus::Failed);
        self.timed_out += is(RunStatus::TimedOut);
        self.non_quiescent += usize::from(!played.report.quiescent);
        self.cleaned += usize::from(played.bodies.cleaned() > 0);
        self.detached += roots - 1;
        self.bodies += played.bodies.entered();
    }

    fn assert_interesting(&self) {
        if self.plans < 1_000 {
            return;
        }
        let many = self.plans / 50;
        let all = [self.accepted, self.completed, self.failed, self.cleaned];
        assert!(all.iter().all(|count| *count >= many), "too much of the same: {self:?}");
        assert!(self.timed_out > 0 && self.detached > 0, "too much of the same: {self:?}");
        assert!(self.bodies > self.plans, "too few bodies: {self:?}");
    }
}

const PLANS: u64 = 2_000;

const ABORT_WAIT: Duration = secs(1);
