//! Bodies that poll a process with a waker of their own, which panics or blocks.

use std::future::poll_fn;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;

use quell::{Engine, RunHandle, RunSpec};
use quell_process::{Process, ProcessOutput};

use crate::support::{PATIENCE, script};

/// Passes the wake-up on. On a thread of this crate's that serves all programs, it panics, or
/// blocks until a channel is closed.
struct Foreign {
    waker: Waker,
    until: Option<Arc<Mutex<Receiver<()>>>>,
}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.waker.wake_by_ref();
        if thread::current().name() != Some("quell-survivors") {
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
