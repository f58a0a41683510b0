//! How runs of a [`Component`] are started.

use std::sync::Arc;

use quell::{Engine, Payload, RunContext, RunHandle, RunSpec, SubmitError};

use super::component::Component;
use super::lasting::Output;
use crate::output::set_output;
use crate::times::timed;

impl Component {
    /// Makes the spec of a run of it: kind, name, times, and the label [`COMPONENT`] with its id.
    pub fn spec(&self) -> RunSpec {
        self.spec_named(self.id.as_str())
    }

    /// As [`spec`](Self::spec), for a run with another name.
    pub(crate) fn spec_named(&self, name: impl Into<Arc<str>>) -> RunSpec {
        let spec = RunSpec::new(self.kind.run_kind(), name).label(COMPONENT, self.id.as_str());
        let spec = if self.is_unlimited { spec.unlimited() } else { spec };
        timed(spec, self.timeout, self.grace, self.idle)
    }

    /// Starts a run of it. The value that its body returns becomes the output of the run.
    ///
    /// # Errors
    ///
    /// As [`Engine::submit`].
    pub fn start(
        self: &Arc<Self>,
        engine: &Engine,
        spec: RunSpec,
        input: Payload,
    ) -> Result<RunHandle<Payload>, SubmitError> {
        let spec = spec.input(input);
        if !self.is_resumable {
            return engine.submit(spec, self.to_body());
        }
        let (spec, body) = self.resumable_parts(engine, spec);
        engine.submit_resumable(spec, body)
    }

    /// As [`start`](Self::start), and waits until the acceptance of the run is in the store of the
    /// engine.
    ///
    /// # Errors
    ///
    /// As [`Engine::submit_durably`].
    ///
    /// # Cancel safety
    ///
    /// As [`Engine::submit_durably`].
    pub async fn start_durably(
        self: &Arc<Self>,
        engine: &Engine,
        spec: RunSpec,
        input: Payload,
    ) -> Result<RunHandle<Payload>, SubmitError> {
        let spec = spec.input(input);
        if !self.is_resumable {
            return engine.submit_durably(spec, self.to_body()).await;
        }
        let (spec, body) = self.resumable_parts(engine, spec);
        engine.submit_resumable_durably(spec, body).await
    }

    /// Starts a run of it as a child of `ctx`'s run: a member of a team, or a step of a workflow.
    /// The value that its body returns becomes the output of the child.
    pub fn spawn(
        self: &Arc<Self>,
        ctx: &RunContext,
        spec: RunSpec,
        input: Payload,
    ) -> RunHandle<Payload> {
        ctx.spawn(spec.input(input), self.to_body())
    }

    /// Makes the body of one run, which reads its input and sets its output. It is called once for
    /// each attempt.
    pub(super) fn to_body(self: &Arc<Self>) -> impl Fn(RunContext) -> Output + Send + Sync + use<> {
        let this = Arc::clone(self);
        move |ctx| {
            let input = ctx.input().cloned().unwrap_or_else(|| serde_json::Value::Null.into());
            let output = (this.body)(ctx.clone(), input);
            Box::pin(async move {
                let output = output.await?;
                set_output(&ctx, output)
            })
        }
    }
}

/// The label of a run that has the id of its component.
pub const COMPONENT: &str = "component";
