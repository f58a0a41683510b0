//! Stops while there is no thread to be had.

use std::sync::mpsc;
use std::time::Duration;

use quell::{RunSpec, StopDelivery};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Scratch, Started, script, start};

/// Leaves the group and ignores SIGTERM.
const STRAY: &str =
    "setsid sh -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 1; done' & wait";

fn started(runtime: &Runtime, spec: RunSpec, scratch: &Scratch) -> Started {
    let process = script(STRAY).cwd(scratch.path());
    runtime.block_on(async { start(spec.grace(Duration::from_secs(5)), process) })
}

#[test]
fn i4_programs_are_stopped_although_no_thread_is_to_be_had() {
    let busy = Builder::new_multi_thread().max_blocking_threads(1).enable_all().build().unwrap();
    let idle = Builder::new_multi_thread().enable_all().build().unwrap();
    let scratches = [Scratch::new("no-thread"), Scratch::new("no-thread-elsewhere")];
    let dropped = RunSpec::step("dropped").stop_delivery(StopDelivery::Drop);
    let runs = [
        (&busy, started(&busy, RunSpec::step("stopped"), &scratches[0])),
        (&idle, started(&idle, dropped, &scratches[1])),
    ];
    let strays = scratches.each_ref().map(|scratch| idle.block_on(scratch.pid("pid")));
    // The only thread that may block does nothing else from here on.
    let (done, until_done) = mpsc::channel::<()>();
    let (blocks, until_blocked) = mpsc::channel();
    busy.spawn_blocking(move || {
        blocks.send(()).unwrap();
        until_done.recv().unwrap_err();
    });
    until_blocked.recv().unwrap();
    for ((runtime, run), stray) in runs.into_iter().zip(strays) {
        let (_, report) = runtime.block_on(run.stop());
        assert!(report.quiescent && !stray.is_alive(), "{report:?}");
    }
    drop(done);
}
