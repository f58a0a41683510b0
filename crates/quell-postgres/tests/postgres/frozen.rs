//! Processes that are frozen, and go on later.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use quell::{
    CancelRequest, Disposition, Engine, EngineConfig, Recovery, RunContext, RunSpec, RunStatus,
    Work,
};
use quell_core::RunId;
use quell_core::store::Store as _;
use quell_postgres::{PostgresNode, PostgresOptions};
use quell_test_support::{Witness, soon, within};
use rustix::process::{Pid, Signal, kill_process};

use crate::crew::{engine, join, on_threads, read, stop};
use crate::fixture::Place;

/// The address of the database of a child.
const ADDRESS: &str = "QUELL_POSTGRES_CHILD";

/// The lease of a child in milliseconds.
const LEASE: &str = "QUELL_POSTGRES_LEASE";

/// A process with a node named `a`, whose run says on its stdout that it still executes.
struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    /// Starts one, and waits until its run executes.
    fn start(place: &Place<'_>, lease: Duration) -> (Self, RunId) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["frozen::runs_if_it_is_told_to", "--exact", "--nocapture", "--quiet"]);
        command.env(ADDRESS, place.server.address(&place.database));
        command.env(LEASE, lease.as_millis().to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, lines };
        let run = loop {
            let line = process.line();
            if let Some(run) = line.strip_prefix("runs ") {
                break run.parse().unwrap();
            }
        };
        (process, run)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "it has ended");
        line.trim().to_owned()
    }

    /// Reads what it says until it says this.
    fn until(&mut self, words: &str) {
        while self.line() != words {}
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child does.
#[test]
fn runs_if_it_is_told_to() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let lease: u64 = std::env::var(LEASE).unwrap().parse().unwrap();
    let mut options = PostgresOptions::new(address);
    (options.node, options.lease) = (Some("a".into()), Duration::from_millis(lease));
    on_threads(async {
        let node = Arc::new(PostgresNode::open(options).await.unwrap());
        let config = EngineConfig::new().node(node);
        let short = Duration::from_millis(50);
        let engine = Engine::with_config(config.grace(short).abort_wait(short));
        let body = async |ctx: RunContext| {
            ctx.stopped().await;
            Ok(())
        };
        let run = engine.submit_durably(RunSpec::agent("frozen"), body).await.unwrap().into_ref();
        soon("it runs", || run.status() == RunStatus::Running).await;
        run.stored().await.unwrap();
        say(&format!("runs {}", run.id()));
        run.quiescent().await;
        say(&format!("ended {:?}", run.row().cause.unwrap().kind));
        std::future::pending::<()>().await;
    });
}

fn say(words: &str) {
    // Apart from what the harness of tests writes.
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{words}").unwrap();
    out.flush().unwrap();
}

#[test]
fn an_owner_that_is_silent_has_the_stop_recorded_and_honours_it_when_it_goes_on() {
    let place = Place::shared();
    on_threads(async {
        let node = join(&place, "b").await;
        let b = engine(&node);
        let (mut process, run) = Process::start(&place, Duration::from_mins(1));
        process.signal(Signal::STOP);
        let answer = b.cancel_anywhere(run, stop("ada")).await.unwrap();
        let Disposition::Recorded { owner, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(&*owner, "a");
        assert_eq!(read(&*node, run).await.stop, None, "it is not decided");
        process.signal(Signal::CONT);
        process.until("ended UserRequest");
        let over = async || read(&*node, run).await.status;
        while over().await != RunStatus::Cancelled {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        node.close().await.unwrap();
    });
}

#[test]
fn a_frozen_process_is_taken_over_from_after_its_lease_and_stops_all_when_it_goes_on() {
    let place = Place::shared();
    on_threads(async {
        let node = join(&place, "b").await;
        let b = engine(&node);
        let (mut process, run) = Process::start(&place, Duration::from_secs(2));
        assert!(b.take_over(|_| Recovery::Fail).await.unwrap().is_none(), "it has a lease");
        process.signal(Signal::STOP);
        let witness = Witness::new();
        let inside = witness.clone();
        let taken = loop {
            let inside = inside.clone();
            let body = move |_: RunContext| {
                let inside = inside.clone();
                async move {
                    let _inside = inside.enter();
                    std::future::pending::<Result<(), quell::Failure>>().await
                }
            };
            let decide = |_: &_| Recovery::resume(RunSpec::agent("frozen"), body.clone());
            if let Some(taken) = b.take_over(decide).await.unwrap() {
                break taken;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!((taken.from.as_deref(), taken.recovered.resumed.len()), (Some("a"), 1));
        soon("it goes on here", || witness.inside() == 1).await;
        process.signal(Signal::CONT);
        process.until("ended LeaseLost");
        // Nothing of that is in the store: the run is that of its new owner.
        assert_eq!(witness.inside(), 1);
        let record = read(&*node, run).await;
        assert!(record.stop.is_none() && !record.status.is_terminal(), "{record:?}");
        let next = b.get(run).unwrap();
        b.cancel(run, CancelRequest::because("enough").abort());
        let row = within("it ends", next.ended()).await.own_row().clone();
        assert_eq!(row.status, RunStatus::Cancelled);
        assert_eq!(row.abandoned[0].what, Work::Node);
        next.stored().await.unwrap();
        assert_eq!(read(&*node, run).await.status, RunStatus::Cancelled);
        node.close().await.unwrap();
    });
}

#[test]
fn what_a_process_had_that_was_killed_belongs_to_the_next_one_of_its_name_at_once() {
    let place = Place::shared();
    on_threads(async {
        let (mut process, run) = Process::start(&place, Duration::from_hours(1));
        process.signal(Signal::KILL);
        process.child.wait().unwrap();
        let node = join(&place, "a").await;
        let a = engine(&node);
        let recovered = a.recover(|_| Recovery::Fail).await.unwrap();
        assert_eq!(recovered.ended.failed, 1);
        assert_eq!(read(&*node, run).await.status, RunStatus::Failed);
        node.close().await.unwrap();
    });
}
