//! [`App::until_behind`]: has a run end behind the one from which it goes on.

use std::time::Duration;

use quell::RunId;
use tokio::time::sleep;

use crate::app::App;
use crate::threads::{Mark, Thread};

impl App {
    /// Has a run end behind another one: or it might do so in the same millisecond, or by a clock
    /// that is behind, and stand before that one ever after.
    pub(super) async fn until_behind(&self, last: Option<Mark>, run: RunId) {
        let left = last.map_or(Duration::ZERO, |last| self.until(last, run));
        if !left.is_zero() && left <= BEHIND_WAIT {
            sleep(left).await;
        }
        self.put_behind(last, run);
    }

    /// As [`App::until_behind`], at once, of the last run of a thread, if there is one: of one
    /// server only a clock that was set back while it was down is behind.
    pub(super) fn put_behind_last(&self, thread: &Thread, run: RunId) {
        if !self.is_node() {
            let [_, last] = thread.marks(self.engine());
            self.put_behind(last, run);
        }
    }

    /// As [`App::until_behind`], at once.
    pub(super) fn put_behind(&self, last: Option<Mark>, run: RunId) {
        let Some(last) = last else { return };
        if !self.until(last, run).is_zero() && !self.engine().not_before(last.behind(run)) {
            tracing::warn!(run.uuid = %run, "a run may count as before what it goes on from");
        }
    }

    /// Yields how long it is until what ends then is behind another run, by the clock that says
    /// when it has ended.
    fn until(&self, last: Mark, run: RunId) -> Duration {
        last.behind(run).duration_since(self.engine().time()).unwrap_or_default()
    }
}

/// How long a run waits at most until it ends behind the one on which it starts: a millisecond, but
/// for clocks of hosts that differ. Of one that is further behind the times go on from there.
const BEHIND_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use quell::{Engine, RunContext, RunSpec};
    use quell_flow::Catalog;
    use quell_http::Service;
    use uuid::Uuid;

    use super::*;
    use crate::options::Options;
    use crate::threads::{Left, Tracked, within};
    use crate::values::Fold;
    use crate::wire::exact::Keys;

    /// Makes a thread in which a run has ended by the clock of another host, which is so far ahead,
    /// and an id that was made before that run was.
    pub(in crate::app) async fn behind_another(ahead: Duration) -> (App, Arc<Thread>, RunId, Mark) {
        let app = App::new(Service::new(Engine::new(), Catalog::new()), Options::default());
        let id = Uuid::now_v7();
        let thread = Arc::new(Thread::new(id, None, &Keys::new(), false));
        let late = RunId::from_uuid(Uuid::now_v7());
        let before = app.engine().submit(RunSpec::agent("r"), async |_ctx| Ok(())).unwrap();
        let before = before.into_ref();
        before.quiescent().await;
        let tracked = Arc::new(Tracked::of(&(&before).into(), within(id)));
        let mut row = before.row();
        row.ended_at = row.ended_at.map(|at| at + ahead);
        let mark = Mark::of(&row);
        assert!(thread.take_left(app.engine(), &Left { tracked, row, fold: Fold::default() }, 0));
        (app, thread, late, mark)
    }

    #[tokio::test]
    async fn a_run_ends_behind_the_one_on_which_it_has_started_whatever_its_id_and_the_clock_are() {
        for ahead in [Duration::from_millis(200), Duration::from_hours(1)] {
            let (app, known, late, mark) = behind_another(ahead).await;
            let (there, on, id) = (app.clone(), Arc::clone(&known), known.id);
            let body = async move |ctx: RunContext| {
                let tracked = Tracked::of(&ctx.run().into(), within(id));
                assert!(on.add(&Arc::new(tracked)));
                assert_eq!(there.left_to(&on, &ctx).await?.last, Some(mark));
                Ok(())
            };
            let late = app.engine().submit(RunSpec::agent("r").id(late), body).unwrap();
            let late = late.into_ref();
            late.quiescent().await;
            assert!(Mark::of(&late.row()) > mark, "{ahead:?}");
        }
    }
}
