//! [`Calls`]: the tool calls of a program that are open.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use quell::{Failure, Hold, Payload, RunContext, ToolCall, Work};
use tokio::sync::oneshot;
use tokio::task::unconstrained;

/// The tool calls of a program that are open, in the order of their starts.
///
/// The program executes them, so each has a hold inside: a call that is dropped with it is recorded
/// as unknown, one that is dropped after it, because the program is dead, as cancelled.
#[derive(Debug)]
pub(crate) struct Calls {
    what: Work,
    open: Vec<Open>,
}

/// One of them. The order of the fields is the order in which they are dropped.
struct Open {
    id: String,
    record: Record,
    /// None once nothing of the program executes.
    hold: Option<Hold>,
    end: oneshot::Sender<Result<Payload, Failure>>,
}

/// What records the start and the outcome of a call. Nothing wakes it: it is polled when the
/// program has said something.
type Record = Pin<Box<dyn Future<Output = Result<Payload, Failure>> + Send>>;

impl Calls {
    /// Makes a list of calls that this sort of work executes.
    pub(crate) const fn new(what: Work) -> Self {
        Self { what, open: Vec::new() }
    }

    /// Records that a call begins, or yields why it does not.
    pub(crate) fn start(&mut self, ctx: &RunContext, call: ToolCall) -> Result<(), String> {
        let id = call.id().to_owned();
        if self.open.iter().any(|open| open.id == id) {
            return Err(format!("call `{id}` is open already"));
        }
        if self.open.len() >= OPEN_MAX {
            return Err(format!("{OPEN_MAX} calls are open already"));
        }
        let (end, ended) = oneshot::channel();
        let (hand_out, mut handed) = oneshot::channel();
        let mut record = record(ctx.clone(), self.what, call, hand_out, ended);
        if poll(&mut record).is_ready() {
            return Err("no call begins: the run is to stop".to_owned());
        }
        let hold = handed.try_recv().ok();
        self.open.push(Open { id, record, hold, end });
        Ok(())
    }

    /// Records how a call ended, or yields that there is no such call.
    pub(crate) fn end(&mut self, id: &str, end: Result<Payload, Failure>) -> Result<(), String> {
        let found = self.open.iter().position(|open| open.id == id);
        let nth = found.ok_or_else(|| format!("no call `{id}` is open"))?;
        let mut call = self.open.remove(nth);
        // The record waits for it.
        let _ = call.end.send(end);
        let _ = poll(&mut call.record);
        Ok(())
    }

    /// Records an outcome for each call that is open: cancelled if nothing of the program executes,
    /// otherwise unknown.
    pub(crate) fn give_up(&mut self, nothing_executes: bool) {
        for mut call in self.open.drain(..) {
            if nothing_executes {
                call.hold = None;
            }
            drop(call);
        }
    }
}

fn record(
    ctx: RunContext,
    what: Work,
    call: ToolCall,
    hand_out: oneshot::Sender<Hold>,
    ended: oneshot::Receiver<Result<Payload, Failure>>,
) -> Record {
    Box::pin(async move {
        let name = call.name().to_owned();
        let execute = async {
            // In a shield: the program executes the call, whether a stop came just now or not.
            let hold = ctx.shield(async { ctx.hold(what, name) }).await;
            let Ok(Ok(hold)) = hold else { return Err(Failure::new("the run is aborted")) };
            let _ = hand_out.send(hold);
            // The other end lives as long as this.
            ended.await.unwrap_or_else(|_| Err(Failure::new("nobody knows how the call ended")))
        };
        ctx.tool(call, execute).await
    })
}

/// Polls it once. It counts: tokio must not put off what a task does, as it does after much of it.
fn poll(record: &mut Record) -> Poll<Result<Payload, Failure>> {
    pin!(unconstrained(record)).poll(&mut Context::from_waker(Waker::noop()))
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The most open calls of a program. One more does not begin.
const OPEN_MAX: usize = 256;
