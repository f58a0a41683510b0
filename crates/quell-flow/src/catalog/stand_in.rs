//! [`Catalog::stand_in`]: a contract says with which body a run goes on that another process made.

use std::fmt;
use std::sync::{Arc, OnceLock};

use quell::RunRef;

use super::component::Component;
use super::lasting::{Attempts, Behind};
use super::registry::Catalog;

/// Yields the component whose body a run gets; none if that is its own one.
type Choose = dyn Fn(&RunRef, &Arc<Component>) -> Option<Arc<Component>> + Send + Sync;

/// Who is asked, if anybody is.
#[derive(Clone, Default)]
pub(super) struct StandIns(Arc<OnceLock<Box<Choose>>>);

impl StandIns {
    /// Makes the body of a run that another process has left. Who is asked may be there only when
    /// the run starts.
    pub(super) fn attempts_of(
        &self,
        component: &Arc<Component>,
        behind: Option<Behind>,
    ) -> Attempts {
        let (all, own, chosen) = (self.clone(), Arc::clone(component), OnceLock::new());
        Box::new(move |ctx| {
            let choose = || all.0.get().and_then(|choose| choose(ctx.run(), &own));
            let body: &Attempts = chosen.get_or_init(|| {
                let of = choose().unwrap_or_else(|| Arc::clone(&own));
                match of.lasting.as_ref().zip(behind.clone()) {
                    Some((lasting, behind)) => lasting.attempts(behind),
                    None => Box::new(of.to_body()),
                }
            });
            body(ctx)
        })
    }
}

impl fmt::Debug for StandIns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StandIns").field(&self.0.get().is_some()).finish()
    }
}

impl Catalog {
    /// Has a function say with which body a run goes on that another process has left, or begins,
    /// as [`recovery`](Self::recovery) has it: for a contract that gives a run another body than
    /// that of its component ([`Component::with_body`]), as one that learns what it works on when
    /// it starts.
    ///
    /// It gets the run and its component when the first attempt here starts, in the task of that,
    /// and yields the component whose body every attempt here has; none for its own. Of a plan it
    /// goes on as the plan if that is [one that begins with more](Component::beginning_with). Only
    /// the first function counts, for every clone of the catalog.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_flow::Catalog;
    ///
    /// let catalog = Catalog::new();
    /// catalog.stand_in(|run, component| {
    ///     run.annotation("late")?;
    ///     let late = component.with_body(async |_ctx, _input| Ok("late".into()));
    ///     Some(late.into())
    /// });
    /// ```
    pub fn stand_in(
        &self,
        choose: impl Fn(&RunRef, &Arc<Component>) -> Option<Arc<Component>> + Send + Sync + 'static,
    ) {
        // Whoever comes later serves the same runs, and would say the same.
        let _ = self.stand_ins.0.set(Box::new(choose));
    }
}
