//! [`RunContext::pause`]: a body asks for an answer, and has its run wait for it.

use quell_core::Payload;

use crate::body::context::RunContext;
use crate::failure::Failure;
use crate::pause::Pause;

impl RunContext {
    /// Asks for a pause of the run, and yields the error with which the body ends its attempt:
    /// `return Err(ctx.pause("may I?"))`. Any other error that the body returns after the call has
    /// the run paused as well; `Ok` completes it, and a panic fails it.
    ///
    /// A root that was submitted with [`Engine::submit_resumable`](crate::Engine::submit_resumable)
    /// is then `Paused`, when nothing of its subtree executes any more: children are awaited first,
    /// and hooks of every end run. Its slots go back, its lane it keeps. When it is
    /// [resumed](crate::RunRef::resume), its body is made and polled anew. A child fails, and its
    /// handle yields [`RunError::Paused`](crate::RunError::Paused); a parent that returns that
    /// error asks for the same.
    ///
    /// A stop that was accepted comes first: then the run ends. Nothing is asked for, and the
    /// error says why, if the run cannot be paused: see [`PauseError`](crate::PauseError).
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, RunSpec, RunStatus};
    ///
    /// let engine = Engine::new();
    /// let run = engine.submit_resumable(RunSpec::agent("clerk"), async |ctx| {
    ///     match ctx.resumed_with() {
    ///         None => Err(ctx.pause("may I delete the file?")),
    ///         Some(answer) => Ok(answer.as_text().as_deref() == Some("yes")),
    ///     }
    /// }).unwrap();
    /// let asked = run.run().paused().await.unwrap();
    /// assert_eq!(asked.as_text().as_deref(), Some("may I delete the file?"));
    /// assert_eq!(run.run().status(), RunStatus::Paused);
    ///
    /// run.run().resume("yes").unwrap();
    /// assert!(run.await.unwrap());
    /// # });
    /// ```
    #[must_use = "the run is paused when its body returns an error"]
    pub fn pause(&self, pause: impl Into<Pause>) -> Failure {
        self.node().pause_by_body(pause.into())
    }

    /// Yields the answer that the run was [resumed](crate::RunRef::resume) with; none in its first
    /// attempt.
    pub fn resumed_with(&self) -> Option<Payload> {
        self.node().resumed().1
    }

    /// Yields the number of the attempt, from 1.
    pub fn attempt(&self) -> u32 {
        let node = self.node();
        node.attempt().saturating_add(node.resumed().0)
    }
}
