//! Bodies that poll a process with a waker of their own, which panics or blocks.

use std::future::{Future as _, poll_fn};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use quell::{CancelRequest, Engine, Failure, RunHandle, RunSpec};
use quell_process::{Process, ProcessOutput};

use crate::support::{PATIENCE, Scratch, eventually, script};

/// Passes the wake-up on. On a thread of this crate's it panics, or blocks until a channel is
/// closed.
struct Foreign {
    waker: Waker,
    until: Option<Arc<Mutex<Receiver<()>>>>,
}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.waker.wake_by_ref();
        if !matches!(thread::current().name(), Some("quell-survivors" | "quell-process")) {
            return;
        }
        match &self.until {
            Some(until) => until.lock().unwrap().recv().unwrap_err(),
            None => panic!("a foreign waker"),
        };
    }
}

fn submit(engine: &Engine, text: &str) -> RunHandle<ProcessOutput> {
    let process = script(text);
    engine.submit(RunSpec::step("program"), |ctx| process.run(ctx)).unwrap()
}

async fn keeps_no_other_program_from_ending(until: Option<Receiver<()>>, done: Option<Sender<()>>) {
    let engine = Engine::new();
    let until = until.map(|until| Arc::new(Mutex::new(until)));
    let before = submit(&engine, "sleep 1");
    let body = async move |ctx| {
        let mut process = Box::pin(Process::new("true").run(ctx));
        poll_fn(move |cx| {
            let foreign = Foreign { waker: cx.waker().clone(), until: until.clone() };
            process.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(foreign))))
        })
        .await
    };
    let foreign = engine.submit(RunSpec::step("foreign"), body).unwrap();
    let ended = async {
        foreign.run().ended().await;
        before.run().ended().await;
        submit(&engine, "true").run().ended().await
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await;
    drop(done);
    ended.expect("the other programs end");
}

#[tokio::test(flavor = "multi_thread")]
async fn i26_a_waker_that_panics_keeps_no_other_program_from_ending() {
    keeps_no_other_program_from_ending(None, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i26_a_waker_that_blocks_keeps_no_other_program_from_ending() {
    let (done, until_done) = mpsc::channel();
    keeps_no_other_program_from_ending(Some(until_done), Some(done)).await;
}

/// The body is polled once, and its waker panics when the program has ended.
#[tokio::test(flavor = "multi_thread")]
async fn i4_a_waker_that_panics_leaves_nothing_of_its_program() {
    let scratch = Scratch::new("waker-panics");
    let text = "setsid sh -c 'echo $$ > stray; exec sleep 600' >/dev/null 2>&1 &
        until [ -s stray ]; do :; done; echo $$ > pid";
    let process = script(text).cwd(scratch.path());
    let engine = Engine::new();
    let body = move |ctx| {
        let mut process = Box::pin(process.run(ctx));
        let mut is_polled = false;
        poll_fn(move |cx| -> Poll<Result<ProcessOutput, Failure>> {
            if !std::mem::replace(&mut is_polled, true) {
                let foreign = Foreign { waker: cx.waker().clone(), until: None };
                let waker = Waker::from(Arc::new(foreign));
                assert!(process.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
            Poll::Pending
        })
    };
    let spec = RunSpec::step("program").grace(Duration::from_secs(1));
    let run = engine.submit(spec, body).unwrap();
    let (stray, pid) = (scratch.pid("stray").await, scratch.pid("pid").await);
    eventually("the program has ended", || (!pid.is_alive()).then_some(())).await;
    run.run().cancel(CancelRequest::because("the test says so"));
    let report = tokio::time::timeout(PATIENCE, run.run().quiescent()).await.unwrap();
    let is_alive = stray.is_alive();
    stray.kill();
    assert!(report.quiescent && !is_alive, "{report:?}");
}
