//! How a body registers hooks: [`RunContext::on_stop`] and [`RunContext::on_end`], with names and
//! without.

use std::future::{Future, ready};
use std::panic::Location;
use std::sync::Arc;

use quell_core::lifecycle::Input;
use quell_core::{Cause, limits};

use crate::body::context::RunContext;
use crate::foreign;
use crate::node::hook::{Cleanup, Hook, Label, Start};
use crate::node::write::cut_name;
use crate::node::{Node, Site};
use crate::step::StopOrigin;

impl RunContext {
    /// Registers cleanup that runs when the run was stopped and its body and children have ended,
    /// in reverse order of registration, within the grace. Registered after the stop it runs at
    /// once. At most 1,024 hooks a run; one more, and one that has no time left, never runs and is
    /// reported as skipped.
    ///
    /// Registering a hook is not listening: a body that never asks about stops is dropped at its
    /// next await, and the hook has the grace. A hook that waited for descendants alone when the
    /// grace was over has half of the abort wait. One that is still running then is dropped, and
    /// named in [`cleanup_errors`](crate::RunRow::cleanup_errors).
    ///
    /// Without a stop it is dropped uncalled: by a run that completes when its closures, holds and
    /// processes have ended. So it must not own what ends only with it, a [`Hold`](crate::Hold), a
    /// process or the sender that a closure of its run waits for: the run would wait for itself,
    /// without a bound, until it is stopped.
    #[track_caller]
    pub fn on_stop<F, Fut>(&self, hook: F)
    where
        F: FnOnce(Arc<Cause>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        register(self.node(), None, Location::caller(), false, at_stop(hook));
    }

    /// As [`on_stop`](Self::on_stop), with a name by which
    /// [`cleanup_errors`](crate::RunRow::cleanup_errors) and
    /// [`abandoned`](crate::RunReport::abandoned) tell of the hook. A name over 1 KiB is cut at a
    /// character and marked with `…`.
    #[track_caller]
    pub fn on_stop_named<F, Fut>(&self, name: impl Into<Arc<str>>, hook: F)
    where
        F: FnOnce(Arc<Cause>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        register(self.node(), Some(name.into()), Location::caller(), false, at_stop(hook));
    }

    /// Registers cleanup that runs at every end: when the body has returned, failed or panicked, or
    /// the run was stopped. It is given the cause of the stop, if there was one.
    ///
    /// After a stop it is a hook like those of [`on_stop`](Self::on_stop), in one order with them.
    /// Without one it runs before the run is terminal, when the body and the children have ended;
    /// of a run that completes, when its closures, holds and processes have, too. So such a hook
    /// must not own what ends only with it, a [`Hold`](crate::Hold), a process or the sender that a
    /// closure of its run waits for: it would wait for itself, without a bound. While hooks run,
    /// nothing but their own cleanup may start in the run.
    ///
    /// The time of the hooks is then the grace of the run, from the moment when the first of them
    /// starts, or when the run failed. What is still running is dropped, and named in
    /// [`cleanup_errors`](crate::RunRow::cleanup_errors); the others are reported as skipped; one
    /// that blocks its thread is abandoned after the abort wait. A grace of zero leaves them no
    /// time, unless they wait for a child then. A timeout of the run goes on, and a stop may still
    /// come: it ends the run as stopped, and can only shorten that time. Each hook runs once all
    /// the same. A hook that is registered by a hook runs at once, or if a child lives by then,
    /// when that has ended: beside the others.
    ///
    /// A panic of a hook is a cleanup error, and does not change how the run ends. A child that a
    /// hook spawns is like any other: if it fails and nobody holds its handle, the run fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// use quell::{Engine, Failure, RunSpec};
    ///
    /// let open = Arc::new(AtomicU32::new(1));
    /// let session = Arc::clone(&open);
    /// let engine = Engine::new();
    /// let run = engine.submit(RunSpec::step("ask"), async move |ctx| {
    ///     ctx.on_end(async move |_cause| drop(session.fetch_sub(1, Ordering::SeqCst)));
    ///     Err::<(), _>(Failure::new("no answer"))
    /// }).unwrap();
    /// assert_eq!(run.ended().await.error.as_deref(), Some("no answer"));
    /// assert_eq!(open.load(Ordering::SeqCst), 0);
    /// # });
    /// ```
    #[track_caller]
    pub fn on_end<F, Fut>(&self, hook: F)
    where
        F: FnOnce(Option<Arc<Cause>>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        register(self.node(), None, Location::caller(), true, at_end(hook));
    }

    /// As [`on_end`](Self::on_end), with a name by which
    /// [`cleanup_errors`](crate::RunRow::cleanup_errors) and
    /// [`abandoned`](crate::RunReport::abandoned) tell of the hook. A name over 1 KiB is cut at a
    /// character and marked with `…`.
    #[track_caller]
    pub fn on_end_named<F, Fut>(&self, name: impl Into<Arc<str>>, hook: F)
    where
        F: FnOnce(Option<Arc<Cause>>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        register(self.node(), Some(name.into()), Location::caller(), true, at_end(hook));
    }
}

fn at_stop<F, Fut>(hook: F) -> Start
where
    F: FnOnce(Arc<Cause>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Start(Box::new(move |cause: Option<Arc<Cause>>| -> Cleanup {
        match cause {
            Some(cause) => Box::pin(hook(cause)),
            // Only a stop has it started, and a stop has a cause.
            None => Box::pin(ready(())),
        }
    }))
}

fn at_end<F, Fut>(hook: F) -> Start
where
    F: FnOnce(Option<Arc<Cause>>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Start(Box::new(move |cause: Option<Arc<Cause>>| -> Cleanup { Box::pin(hook(cause)) }))
}

fn register(node: &Arc<Node>, name: Option<Arc<str>>, site: Site, at_end: bool, start: Start) {
    // The number is taken under the lock that reads the bound: threads may register at once.
    let number = node.lock().extra().number_hook();
    if number as usize >= limits::HOOKS_MAX {
        node.skip_unregistered_hook(number, at_end);
        foreign::release(start);
        return;
    }
    let name = name.map(cut_name);
    let site = node.shared.config.spawn_sites.then_some(site);
    let label = Label { number, at_end, name, site };
    node.apply(Input::HookAdded { at_end }, StopOrigin::default(), |state, _| {
        state.extra().hooks.push(Hook { label, start });
    });
}
