//! A process that is killed, and those who decide what it has left.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quell::{Failure, Recovery, RunContext, RunSpec};
use quell_benches::figures::section;
use quell_benches::race::is_long;
use quell_postgres::PostgresOptions;

use crate::place::{Database, LEASE, Ours, Place, against_bar};

pub(crate) fn recover(place: &Place) {
    let shape = "SIGKILL, and the next process of its name; from the kill until all are decided";
    section("recovery of runs that a node was running", shape);
    let mut all = Vec::new();
    for _ in 0..if is_long() { 7 } else { 3 } {
        let database = place.database();
        let mut child = start(&database, LEASE);
        let killed = Instant::now();
        kill(&mut child);
        let ours = database.join("node-1");
        let joined = killed.elapsed();
        let recovered = ours.runtime.block_on(ours.engine.recover(|_| Recovery::Fail));
        let took = killed.elapsed();
        assert_eq!(recovered.expect("it reads").ended.failed, RUNS, "all are decided");
        println!("   joined after {:.0} ms", joined.as_secs_f64() * 1e3);
        all.push(took);
        ours.close();
    }
    all.sort_unstable();
    against_bar("recover", all[all.len() / 2], Duration::from_millis(500));
}

pub(crate) fn take_over(place: &Place) {
    let shape =
        "SIGKILL, a node of another name, which looks once a second and at the end; lease 9 s";
    section("a stranger takes over", shape);
    let (mut all, mut behind) = (Vec::new(), Vec::new());
    for _ in 0..if is_long() { 7 } else { 2 } {
        let database = place.database();
        let mut child = start(&database, SHORT);
        let ours = Ours::open(database.options("node-2", SHORT));
        let killed = Instant::now();
        kill(&mut child);
        let until = "select extract(epoch from lease_until - clock_timestamp())
            from quell.node where name = 'node-1'";
        let left = database.sql(until).parse().expect("a number");
        let over_at = Instant::now() + Duration::from_secs_f64(left);
        ours.runtime.block_on(async {
            loop {
                let taken = ours.engine.take_over(|_| Recovery::Fail).await.expect("it reads");
                if let Some(taken) = taken {
                    assert_eq!(taken.recovered.ended.failed, RUNS, "all are decided");
                    return;
                }
                let next = ours.engine.next_lease_end();
                let next = next.map(|at| at.saturating_duration_since(Instant::now()));
                let (least, most) = (Duration::from_millis(20), Duration::from_secs(1));
                tokio::time::sleep(next.unwrap_or(most).clamp(least, most)).await;
            }
        });
        all.push(killed.elapsed());
        behind.push(over_at.elapsed());
        ours.close();
    }
    for (all, behind) in all.iter().zip(&behind) {
        let (all, behind) = (all.as_secs_f64(), behind.as_secs_f64() * 1e3);
        println!("   after {all:.2} s, {behind:.0} ms behind the end of the lease");
    }
    let worst = all.into_iter().max().unwrap_or_default();
    against_bar("take_over", worst, SHORT + Duration::from_millis(500));
}

/// Starts a process that has runs, and yields it when they are stored.
fn start(database: &Database<'_>, lease: Duration) -> Child {
    let program = std::env::current_exe().expect("this is a program");
    let mut child = Command::new(program)
        .args([CHILD, &database.address(), &lease.as_millis().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let out = child.stdout.take().expect("it was asked for");
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).expect("it says so");
    assert_eq!(line, "all are stored\n");
    child
}

fn kill(child: &mut Child) {
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
}

pub(crate) fn is_child() -> bool {
    std::env::args().nth(1).is_some_and(|first| first == CHILD)
}

/// What that process does. It ends with the pipe from its parent, at the latest.
pub(crate) fn be_killed() {
    let mut args = std::env::args().skip(2);
    let mut options = PostgresOptions::new(args.next().expect("an address"));
    let lease = args.next().and_then(|it| it.parse().ok()).expect("a lease");
    (options.node, options.lease) = (Some("node-1".into()), Duration::from_millis(lease));
    let ours = Ours::open(options);
    ours.runtime.block_on(async {
        let mut left = RUNS;
        while left > 0 {
            let some = left.min(500);
            let runs = (0..some).map(|_| {
                let body = async |ctx: RunContext| Ok::<_, Failure>(ctx.stopped().await);
                ours.engine.submit_durably(RunSpec::agent("research"), body)
            });
            let runs = futures::future::try_join_all(runs).await.expect("they are stored");
            for run in runs {
                run.into_ref().stored().await.expect("it is stored");
            }
            left -= some;
        }
    });
    println!("all are stored");
    let _ = std::io::stdin().read_line(&mut String::new());
}

const CHILD: &str = "--to-be-killed";

/// Runs that are left.
const RUNS: u64 = 10_000;

/// About the shortest lease that leaves time to stop everything.
const SHORT: Duration = Duration::from_secs(9);
