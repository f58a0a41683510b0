//! The last handle of an engine may go anywhere: nobody waits for himself.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use quell::{CancelRequest, Engine, Payload, RunContext, RunSpec};
use serde::{Serialize, Serializer};

use crate::support::{Gate, body_runtime, bounded, config, ms, naive, secs, soon, within};

/// Where the last handle goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Body,
    BodyDestructor,
    UnstartedBody,
    StopHook,
    Blocking,
    /// On a courier: the tree is forgotten by the control thread.
    Expiry,
    /// On a courier: the control thread fires a deadline.
    Waker,
}

impl Place {
    const ALL: [Self; 7] = [
        Self::Body,
        Self::BodyDestructor,
        Self::UnstartedBody,
        Self::StopHook,
        Self::Blocking,
        Self::Expiry,
        Self::Waker,
    ];
}

/// Holds a handle until it is dropped or told to let go, and says when it has.
struct Last {
    engine: Mutex<Option<Engine>>,
    is_gone: Gate,
}

impl Last {
    fn let_go(&self) {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        if engine.is_some() {
            drop(engine);
            self.is_gone.open();
        }
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Serialize for Last {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(7)
    }
}

impl Wake for Last {
    fn wake(self: Arc<Self>) {
        self.let_go();
    }
}

async fn body(ctx: RunContext, place: Place, last: Last) -> Result<(), quell::Failure> {
    match place {
        Place::Body => last.let_go(),
        Place::StopHook => ctx.on_stop(async move |_| last.let_go()),
        Place::Blocking => drop(ctx.spawn_blocking(move |_| last.let_go()).await),
        Place::Expiry => drop(ctx.set_output(Payload::json_later(last, 100))),
        Place::BodyDestructor | Place::UnstartedBody | Place::Waker => {
            naive(ctx.clone()).await?;
            drop(last);
        }
    }
    match place {
        Place::Expiry => Ok(()),
        _ => naive(ctx).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i38_the_last_handle_of_an_engine_may_go_anywhere() {
    let bodies = body_runtime(2);
    for place in Place::ALL {
        for round in 0..20 {
            let limits = bounded(|limits| limits.ended_trees_ttl = ms(5));
            let config = config().runtime(bodies.handle().clone()).limits(limits).grace(ms(20));
            let engine = Engine::with_config(config);
            let is_gone = Gate::new();
            let held = Mutex::new(Some(engine.clone()));
            let last = Last { engine: held, is_gone: is_gone.clone() };
            // Something is live when it goes, and something is due.
            let other = engine.submit(RunSpec::agent("other").timeout(secs(600)), naive).unwrap();
            let spec = match place {
                Place::UnstartedBody => RunSpec::agent("unstarted")
                    .not_before(std::time::Instant::now() + secs(3600))
                    .start_within(ms(5)),
                Place::BodyDestructor | Place::Waker | Place::StopHook => {
                    RunSpec::agent("timed").timeout(ms(round % 7))
                }
                _ => RunSpec::agent("last"),
            };
            let mut waker = None;
            let run = if place == Place::Waker {
                waker = Some(Waker::from(Arc::new(last)));
                engine.submit(spec.timeout(ms(20)), naive).unwrap().into_ref()
            } else {
                let body = async move |ctx| body(ctx, place, last).await;
                engine.submit(spec, body).unwrap().into_ref()
            };
            let mut ended = Box::pin(run.ended());
            if let Some(waker) = waker {
                assert!(ended.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
            drop(engine);
            if place == Place::Expiry {
                drop(ended);
                drop(run);
                soon(&format!("{place:?}: it is gone"), || is_gone.is_open()).await;
            } else {
                soon(&format!("{place:?}: it is gone"), || is_gone.is_open()).await;
                within(&format!("{place:?}: its run ends"), run.ended()).await;
                drop(ended);
                drop(run);
            }
            let report = within(&format!("{place:?}: the other ends"), other.ended()).await;
            assert!(report.cause.is_some(), "{place:?}: it was stopped");
        }
    }
    bodies.shutdown_background();
}

/// The last who knows an engine is now the control thread, now somebody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i38_an_engine_goes_while_its_control_thread_takes_a_turn() {
    for round in 0..500 {
        let engine = Engine::with_config(config().grace(ms(1)).abort_wait(ms(1)));
        let due = RunSpec::agent("due").timeout(std::time::Duration::from_micros(round * 7));
        let run = engine.submit(due, naive).unwrap();
        let dropper = std::thread::spawn(move || {
            crate::support::spin_for(u32::try_from(round * 100).unwrap());
            drop(engine);
        });
        run.run().cancel(CancelRequest::because("enough"));
        within("it ends", run.ended()).await;
        drop(run);
        soon("nobody waits for ever", || dropper.is_finished()).await;
        dropper.join().unwrap();
    }
}
