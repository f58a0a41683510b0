//! [`Loop`] is what an engine does turn by turn: on a thread of its own, or as a task of a runtime
//! whose clock may be paused.

use std::io;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Instant;

use crate::sync::thread::{self, JoinHandle, Thread};
use crate::sync::{Runtime, park_until};

/// What a turn says about the next one.
pub(crate) enum Turn {
    /// It is due when the loop is woken, or at this instant.
    Next(Option<Instant>),
    /// There is none.
    Last,
}

/// What is done turn by turn.
pub(crate) trait Loop: Send + 'static {
    /// Takes a turn. The waker of the context wakes the loop.
    fn turn(&mut self, cx: &mut Context<'_>) -> Turn;
}

/// Starts a loop that calls code which may use a runtime: on a thread of its own, or as a task of
/// the runtime.
pub(crate) fn start(name: &str, runtime: &Runtime, is_task: bool, of: impl Loop) -> io::Result<()> {
    #[cfg(feature = "test-util")]
    if is_task {
        drop(runtime.spawn(run(of)));
        return Ok(());
    }
    debug_assert!(!is_task, "the loops are tasks for tests alone");
    spawn(name, Some(runtime.clone()), of).map(drop)
}

/// Starts a loop on a thread of its own, within a runtime if it needs one.
pub(crate) fn spawn(
    name: &str,
    runtime: Option<Runtime>,
    mut of: impl Loop,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(move || {
        let _entered = runtime.as_ref().map(Runtime::enter);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        while let Turn::Next(next) = of.turn(&mut cx) {
            match next {
                Some(at) => park_until(at),
                None => thread::park(),
            }
        }
    })
}

/// The loop as a future.
#[cfg(feature = "test-util")]
pub(crate) async fn run(mut of: impl Loop) {
    let mut sleep = Box::pin(tokio::time::sleep(std::time::Duration::ZERO));
    std::future::poll_fn(|cx| {
        loop {
            let Turn::Next(next) = of.turn(cx) else { return std::task::Poll::Ready(()) };
            let Some(at) = next else { return std::task::Poll::Pending };
            sleep.as_mut().reset(at.into());
            if Future::poll(sleep.as_mut(), cx).is_pending() {
                return std::task::Poll::Pending;
            }
        }
    })
    .await;
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
