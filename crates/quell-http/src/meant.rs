//! [`RunView::meant`] and [`RunView::mark`]: a run, and no later one that has its id.

use quell::RunId;
use quell::cluster::RunMeant;
use uuid::Uuid;

use crate::ids::Identity;
use crate::run_view::RunView;

impl RunView {
    pub(crate) fn identity(&self) -> Identity {
        (self.id(), self.queued_at())
    }

    /// Names this run, as far as a store can tell, and no later one that has its id.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use quell::{Engine, RunSpec};
    /// use quell_http::RunView;
    ///
    /// let engine = Engine::new();
    /// let run = engine.submit(RunSpec::agent("echo"), async |_ctx| Ok(()))?.into_ref();
    /// assert!(RunView::from(&run).meant().is(run.queued_at()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn meant(&self) -> RunMeant {
        RunMeant::accepted_at(self.id(), self.queued_at())
    }

    /// Yields the id of the record that marks this run, and no later one that has its id, as
    /// `marks` does: an id of its own for what such marks say.
    pub fn mark(&self, marks: &Uuid) -> RunId {
        let (id, meant) = (self.id().as_uuid(), self.meant());
        let accepted_ms = u128::from(meant.accepted_ms().unwrap_or_default());
        let name = [id.as_bytes(), &accepted_ms.to_be_bytes()[..]].concat();
        RunId::from_uuid(Uuid::new_v5(marks, &name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quell::{Engine, RunSpec};
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn the_mark_of_a_run_is_of_no_later_one_that_has_its_id() {
        let (engine, marks) = (Engine::new(), Uuid::from_u128(1));
        let mut seen = Vec::new();
        for _ in 0..2 {
            let spec = RunSpec::agent("r").id(RunId::from_text("r"));
            let run = engine.submit(spec, async |_ctx| Ok(())).unwrap().into_ref();
            run.quiescent().await;
            let view = RunView::from(&run);
            assert_eq!(view.mark(&marks), view.mark(&marks));
            assert_ne!(view.mark(&marks), view.mark(&Uuid::nil()));
            seen.push(view.mark(&marks));
            run.forget().unwrap();
            sleep(Duration::from_millis(2)).await;
        }
        assert_ne!(seen[0], seen[1]);
    }
}
