//! [`Catalog::recovery`] says how runs of components go on in a later process.

use std::sync::Arc;
use std::time::Duration;

use quell::store::{RunRecord, Store};
use quell::{Payload, Recovery, RunSpec, RunStatus};

use super::component::Component;
use super::kind::ComponentKind;
use super::registry::Catalog;
use super::start::COMPONENT;
use crate::times::timed;

impl Component {
    /// Sets the times of one run of it in its spec, in place of its own; none leaves these. Unlike
    /// [`RunSpec::timeout`] and [`RunSpec::grace`] they also hold for a run that goes on in a later
    /// process.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use quell::{Engine, Payload};
    /// # use quell_flow::Component;
    /// let echo = Component::agent("echo", async |_ctx, input: Payload| Ok(input));
    /// let spec = echo.timed(echo.spec(), Some(Duration::from_secs(60)), None);
    /// # let _ = spec;
    /// ```
    pub fn timed(
        &self,
        spec: RunSpec,
        timeout: Option<Duration>,
        grace: Option<Duration>,
    ) -> RunSpec {
        let mut spec = timed(spec, timeout, grace, None);
        for (key, time) in [(TIMEOUT, timeout), (GRACE, grace)] {
            let time = time.map(|time| humantime::format_duration(time).to_string().into());
            spec = time.into_iter().fold(spec, |spec, time| spec.annotation(key, time));
        }
        spec
    }
}

/// Reads a time that [`Component::timed`] has written.
fn time_of(time: &Payload) -> Option<Duration> {
    humantime::parse_duration(&time.as_text()?).ok()
}

/// The annotations of a run that has a timeout and a grace of its own.
const TIMEOUT: &str = "component.timeout";
const GRACE: &str = "component.grace";

impl Catalog {
    /// Yields how a root goes on that an earlier process has left behind in this store: if it is
    /// paused, or had its answer there and had not started again, and is of a
    /// [resumable](super::Component::resumable) component; if its component is one whose runs
    /// [go on](super::OnWorkerLost::Continue); or if nothing of it has ever executed
    /// ([`RunRecord::is_unstarted`]): then it begins, as a run of the plan that there is now. With
    /// the body and the times of that; a plan goes on behind the steps that have ended, which are
    /// read when it does. None for every other root, and for one of a plan that has changed since:
    /// what ran in the earlier process is not run again. It is for [`Engine::recover`].
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::sync::Arc;
    /// use quell::store::{MemoryStore, Store};
    /// use quell::{Engine, EngineConfig, Recovery};
    /// use quell_flow::Catalog;
    ///
    /// let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    /// let engine = Engine::with_config(EngineConfig::new().store(Arc::clone(&store)));
    /// let catalog = Catalog::new();
    /// let recovered = engine
    ///     .recover(|run| catalog.recovery(run, &store).unwrap_or(Recovery::Fail))
    ///     .await
    ///     .unwrap();
    /// assert_eq!(recovered.paused.len(), 0);
    /// # });
    /// ```
    ///
    /// [`Engine::recover`]: quell::Engine::recover
    pub fn recovery(&self, run: &RunRecord, store: &Arc<dyn Store>) -> Option<Recovery> {
        let accepted = &run.accepted;
        let id = accepted.labels.get(COMPONENT)?;
        let component = self.get(ComponentKind::of_run(accepted.kind), id)?;
        let has_asked = run.status == RunStatus::Paused || run.is_answered();
        let goes_on = component.goes_on() || run.is_unstarted;
        if !(goes_on || component.is_resumable() && has_asked) {
            return None;
        }
        let body = component.attempts_of(run, store, &self.stand_ins)?;
        let of_caller = |key| time_of(accepted.annotations.get(key)?);
        let spec = component.spec_named(Arc::clone(&accepted.name));
        let spec = timed(spec, of_caller(TIMEOUT), of_caller(GRACE), None);
        let spec = component.spec_of(run, spec);
        let body = move |ctx| {
            let output = body(ctx);
            async move { output.await.map(drop) }
        };
        Some(if component.is_resumable() {
            Recovery::resumable(spec, body)
        } else {
            Recovery::resume(spec, body)
        })
    }
}
