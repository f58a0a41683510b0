//! One random tree: what is asked of it, and what must be true of it afterwards.

use std::sync::{Arc, Mutex};

use fastrand::Rng;
use quell::testing::{self, Checked};
use quell::{CancelRequest, Disposition, RunHandle, RunRef, RunReport, RunRow, RunSpec, RunStatus};

use super::{ABORT_WAIT, GRACE, bodies};
use crate::support::{Lab, Witness, ms, secs, within};

/// What every body of a tree has at hand.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    pub(super) witness: Witness,
    /// The runs that have left the tree, and are roots now.
    pub(super) detached: Arc<Mutex<Vec<RunRef>>>,
}

/// A tree under test.
pub(super) struct Tree {
    run: RunHandle<u32>,
    shared: Shared,
    /// A cancel of the root was accepted.
    accepted: Mutex<bool>,
}

impl Tree {
    pub(super) fn plant(lab: &Lab, rng: &mut Rng) -> Self {
        let shared = Shared::default();
        let spec = bodies::spec(RunSpec::workflow("root"), rng);
        let body = bodies::body(shared.clone(), rng.u64(..), rng.u32(0..4));
        let run = lab.submit(spec, body).expect("the engine takes roots");
        Self { run, shared, accepted: Mutex::new(false) }
    }

    /// Sends some commands at random times, and a stop at the end.
    pub(super) async fn weather(&self, lab: &Lab, mut rng: Rng) {
        for _ in 0..rng.u32(0..5) {
            tokio::time::sleep(std::time::Duration::from_micros(rng.u64(0..15_000))).await;
            match rng.u32(0..8) {
                0..3 => self.cancel(&mut rng, lab),
                3 => drop(self.run.run().report()),
                4 => drop(self.run.events().next().await),
                5 => {
                    let ended = tokio::time::timeout(ms(rng.u64(0..5)), self.run.ended()).await;
                    if let Ok(report) = ended {
                        self.assert_honest(&report);
                    }
                }
                6 => {
                    let children = self.run.run().children();
                    if let Some(child) = rng.choice(children) {
                        child.cancel(request(&mut rng));
                    }
                }
                _ => drop(self.run.run().detach().expect_err("a root cannot leave")),
            }
        }
        tokio::time::sleep(ms(20)).await;
        self.cancel(&mut rng, lab);
        // On time, whatever still executes.
        let report = within("a stopped root ends", self.run.ended()).await;
        self.assert_honest(&report);
    }

    fn cancel(&self, rng: &mut Rng, lab: &Lab) {
        let (run, request) = (self.run.run(), request(rng));
        let answer = if rng.bool() { run.cancel(request) } else { lab.cancel(run.id(), request) };
        let status = run.status();
        match answer {
            Disposition::Accepted { .. } => {
                assert!(is_stopped(status), "accepted, and then {status}");
                let report = run.report();
                let unheard =
                    |row: &&RunRow| matches!(row.status, RunStatus::Queued | RunStatus::Running);
                let unheard = report.rows.iter().find(unheard);
                assert_eq!(unheard, None, "signalled when cancel returns");
                *self.accepted.lock().unwrap() = true;
            }
            Disposition::AlreadyStopping { .. } => assert!(is_stopped(status), "{status}"),
            Disposition::AlreadyTerminal { status: told } => assert_eq!(status, told),
            // It has ended and is forgotten.
            Disposition::Unknown => assert!(status.is_terminal(), "unknown, and {status}"),
            Disposition::Scheduled { .. } | Disposition::Escalated { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// Holds a claim of quiescence against the witness; a run that has left may go on.
    fn assert_honest(&self, report: &RunReport) {
        if report.quiescent && self.detached(0).is_none() {
            assert_eq!(self.shared.witness.inside(), 0, "quiescent, and code runs: {report:#?}");
        }
    }

    /// Waits until nothing of the tree runs, and holds what it says against what was seen.
    pub(super) async fn examine(self) -> Checked {
        let report = within("a root becomes quiescent", self.run.run().quiescent()).await;
        let mut checked = examine_one(self.run.run(), &report).await;
        if *self.accepted.lock().unwrap() {
            assert!(is_stopped(report.status), "accepted, and then {}", report.status);
        }
        let mut seen = 0;
        while let Some(run) = self.detached(seen) {
            run.cancel(CancelRequest::because("the wave is over"));
            let report = within("a detached run becomes quiescent", run.quiescent()).await;
            let more = examine_one(&run, &report).await;
            checked.runs += more.runs;
            checked.stopped += more.stopped;
            checked.non_quiescent += more.non_quiescent;
            seen += 1;
        }
        let inside = self.shared.witness.inside();
        assert_eq!(inside, 0, "all are quiescent, and code still runs: {report:#?}");
        checked
    }

    fn detached(&self, index: usize) -> Option<RunRef> {
        self.shared.detached.lock().unwrap().get(index).cloned()
    }
}

async fn examine_one(root: &RunRef, report: &RunReport) -> Checked {
    assert!(report.status.is_terminal() && report.quiescent, "{report:#?}");
    for row in &report.rows {
        if let (Some(stopped), Some(ended)) = (row.stopped_at, row.ended_at) {
            let took = ended.duration_since(stopped).unwrap_or_default();
            // The machine may be busy; a stop that waits for a body would take seconds longer.
            assert!(took < GRACE + ABORT_WAIT + secs(10), "took {took:?}: {row:#?}");
        }
    }
    let trace = within("a log ends", testing::trace(root)).await;
    testing::check_trace(&trace).unwrap_or_else(|what| panic!("{what}\n{trace:#?}"))
}

/// Some request.
fn request(rng: &mut Rng) -> CancelRequest {
    let request = CancelRequest::because("a drop of rain");
    let request = match rng.u32(0..6) {
        0 => request.abort(),
        1 => request.after_step(Some(ms(rng.u64(0..10)))),
        _ => request,
    };
    if rng.bool() { request.grace(ms(rng.u64(0..15))) } else { request }
}

const fn is_stopped(status: RunStatus) -> bool {
    matches!(status, RunStatus::Stopping | RunStatus::Cancelled | RunStatus::TimedOut)
}
