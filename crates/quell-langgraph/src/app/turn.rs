//! [`until_behind`]: a run ends behind the one on which it starts.

use std::sync::Arc;
use std::time::Duration;

use quell::RunId;
use quell_flow::Component;
use tokio::time::sleep;

use crate::app::App;
use crate::threads::{Mark, Thread};

impl App {
    /// Has a run that may not start on what its thread has then, and that others may have
    /// overtaken, wait until it ends behind the last one there all the same: one of a fork.
    pub(super) fn in_turn(
        &self,
        graph: Arc<Component>,
        thread: &Arc<Thread>,
        is_overtaken: bool,
    ) -> Arc<Component> {
        if !is_overtaken {
            return graph;
        }
        let all = (self.clone(), Arc::clone(thread));
        Arc::new(graph.beginning_with(move |ctx| {
            let (app, thread) = all.clone();
            async move { until_behind(thread.ground(app.engine()).last, ctx.run().id()).await }
        }))
    }
}

/// Waits until a run ends behind another one: or it might do so in the same millisecond, and stand
/// before that one ever after.
pub(super) async fn until_behind(last: Option<Mark>, run: RunId) {
    let left = last.map_or(Duration::ZERO, |last| last.until_behind(run));
    if !left.is_zero() {
        sleep(left.min(BEHIND_WAIT)).await;
    }
}

/// How long a run waits at most until it ends behind the one on which it starts: a millisecond, but
/// for clocks of hosts that differ.
const BEHIND_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use quell::{Engine, Payload, RunContext, RunSpec};
    use quell_flow::Catalog;
    use quell_http::Service;
    use uuid::Uuid;

    use super::*;
    use crate::options::Options;
    use crate::threads::{Left, Tracked, within};
    use crate::values::Fold;
    use crate::wire::exact::Keys;

    /// Makes a thread in which a run has ended by the clock of another host, and an id that was
    /// made before that run was.
    async fn behind_another() -> (App, Arc<Thread>, RunId, Mark) {
        let app = App::new(Service::new(Engine::new(), Catalog::new()), Options::default());
        let id = Uuid::now_v7();
        let thread = Arc::new(Thread::new(id, None, &Keys::new(), false));
        let late = RunId::from_uuid(Uuid::now_v7());
        let before = app.engine().submit(RunSpec::agent("r"), async |_ctx| Ok(())).unwrap();
        let before = before.into_ref();
        before.quiescent().await;
        let tracked = Arc::new(Tracked::of(&(&before).into(), within(id)));
        let mut row = before.row();
        row.ended_at = row.ended_at.map(|at| at + Duration::from_millis(200));
        let mark = Mark::of(&row);
        assert!(thread.take_left(app.engine(), &Left { tracked, row, fold: Fold::default() }, 0));
        (app, thread, late, mark)
    }

    #[tokio::test]
    async fn a_run_ends_behind_the_one_on_which_it_has_started_whatever_its_id_is() {
        let (app, known, late, mark) = behind_another().await;
        let id = known.id;
        let (there, on) = (app.clone(), known);
        let body = async move |ctx: RunContext| {
            let tracked = Tracked::of(&ctx.run().into(), within(id));
            assert!(on.add(&Arc::new(tracked)));
            assert_eq!(there.left_to(&on, &ctx).await.last, Some(mark));
            Ok(())
        };
        let late = app.engine().submit(RunSpec::agent("r").id(late), body).unwrap().into_ref();
        late.quiescent().await;
        assert!(Mark::of(&late.row()) > mark);
    }

    #[tokio::test]
    async fn so_does_one_of_a_fork() {
        let (app, thread, _, mark) = behind_another().await;
        let graph = Arc::new(Component::agent("r", async |_ctx, input: Payload| Ok(input)));
        let graph = app.in_turn(graph, &thread, true);
        let run = graph.start(app.engine(), graph.spec(), "hi".into()).unwrap().into_ref();
        run.quiescent().await;
        assert!(Mark::of(&run.row()) > mark);
    }
}
