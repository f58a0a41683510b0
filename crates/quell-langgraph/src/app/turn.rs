//! [`App::left_to`]: on what a run starts when its turn comes, and that it ends behind that.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use quell::{RunContext, RunRef, RunStatus, Stopped};
use quell_flow::Component;
use quell_http::RunView;
use tokio::time::{sleep, timeout};

use crate::app::App;
use crate::app::base::{Since, last_in_base};
use crate::threads::{Ground, Mark, Thread, Tracked, to_base};
use crate::wire::asked::{NOBODY, base_of, began, is_to_begin, next_of, on_start, unkept};
use crate::wire::refusal::Refusal;

impl App {
    /// Yields on what a run starts that was made behind others, or of which others may have made
    /// some since, and has it keep that. It is decided once, for every attempt.
    ///
    /// # Errors
    ///
    /// Fails if the run is to stop before that is known.
    pub(super) async fn left_to(
        &self,
        thread: &Arc<Thread>,
        ctx: &RunContext,
    ) -> Result<Ground, Stopped> {
        let run = ctx.run();
        let mut stopped = until_replaced_ended(ctx).await.err();
        let Some(tracked) = thread.find(run.id()) else {
            let ground = stopped.map_or_else(|| Ok(thread.ground(self.engine())), Err)?;
            self.keep_in(thread, ctx, &ground, true);
            return Ok(ground);
        };
        if tracked.awaits_base() {
            let mut known = pin!(self.know_base(thread, &tracked, run));
            if stopped.is_none() {
                stopped = ctx.run_until_stopped(known.as_mut()).await.err();
            }
            // It executes nothing then, and leaves what it has started on: every node has to know
            // that.
            if let Some(stopped) = &stopped
                && timeout(KNOWN_WITHIN, known).await.is_err()
            {
                return Err(stopped.clone());
            }
        }
        let ground = thread.starts(self.engine(), &tracked, run);
        if stopped.is_none() {
            let behind = self.until_behind(ground.last, run.id());
            stopped = ctx.run_until_stopped(behind).await.err();
        }
        // One that is stopped meanwhile ends behind it as well.
        self.put_behind(ground.last, run.id());
        self.keep_in(thread, ctx, &ground, tracked.needs_next());
        if stopped.is_none() {
            stopped = ctx.run_until_stopped(tracked.until_made()).await.err();
        }
        stopped.map_or(Ok(ground), Err)
    }

    /// Has a run of a thread that is kept keep on what it starts.
    fn keep_in(&self, thread: &Thread, ctx: &RunContext, ground: &Ground, needs_next: bool) {
        if self.has_records() && !thread.is_temporary {
            keep(ctx, ground, needs_next);
        }
    }

    /// Waits until it is known on what a run starts that was made behind others, if it has started:
    /// by then what they have left is in the store. One that is in trouble is waited for, for as
    /// long as that lasts: what is decided here stays, whatever is found later.
    ///
    /// Meanwhile those wait who execute or show a run of the thread that has started, and nobody
    /// else.
    pub(crate) async fn know_base(
        &self,
        thread: &Arc<Thread>,
        tracked: &Arc<Tracked>,
        run: &RunRef,
    ) {
        if !tracked.awaits_base() || run.row().started_at.is_none() {
            return;
        }
        let (app, thread, tracked, run) =
            (self.clone(), Arc::clone(thread), Arc::clone(tracked), run.clone());
        // On a task of its own: one who waits may be polled no more, as a stream whose client reads
        // nothing, and holds up nobody else so. What has panicked in it was told.
        drop(tokio::spawn(async move { app.look_at_base(&thread, &tracked, &run).await }).await);
    }

    async fn look_at_base(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>, run: &RunRef) {
        // The body and whoever shows the run want to know it at the same moment.
        let _one_at_a_time = thread.looking.lock().await;
        let mut looks = 0;
        while tracked.awaits_base() && looks < LOOKS_MAX {
            // On the heap: alone no run needs it.
            match Box::pin(self.look_for_base(thread, tracked, run)).await {
                // A deletion may have taken something out of the thread since it was read.
                Ok(()) if thread.starts_if_whole(self.engine(), tracked, run) => return,
                Err(refusal) if refusal.status == StatusCode::SERVICE_UNAVAILABLE => {
                    tracing::warn!(run.uuid = %run.id(), "a run waits for what its thread has");
                    sleep(LOOK_PAUSE).await;
                }
                Ok(()) | Err(_) => looks += 1,
            }
        }
        if tracked.awaits_base() {
            tracing::warn!(run.uuid = %run.id(), "a run starts on what is known here");
            thread.starts(self.engine(), tracked, run);
        }
    }

    /// Takes in what runs have left before one that has started, if the thread has not all of it,
    /// or what somebody has deleted since. Where an earlier attempt has started is not decided
    /// again: on what the run keeps, if it has not kept anything else.
    async fn look_for_base(
        &self,
        thread: &Arc<Thread>,
        tracked: &Arc<Tracked>,
        run: &RunRef,
    ) -> Result<(), Refusal> {
        let view = self.owner_view(&self.all(), thread);
        let (row, of) = (run.row(), RunView::from(run));
        let before = (run.id(), row.ended_at.is_some().then(|| Mark::of(&row)));
        // One that waits for an answer has started on it as well.
        let is_decided = run.attempt() > 1 || row.status == RunStatus::Paused;
        if let Some(last) = last_in_base(&of).filter(|_| is_decided)
            && self.left_since(&view, thread.id, before, Some(last)).await? != Since::Others
        {
            thread.starts_again(tracked, &of, last);
            return Ok(());
        }
        let known = thread.ground(self.engine()).last;
        let is_whole = thread.is_whole.load(Ordering::SeqCst);
        if !is_whole && let Some(recorded) = self.recorded(thread.id).await? {
            // One that was made for a run that was taken over has not been read yet.
            self.take_card(thread, recorded)?;
        }
        // One before it has ended without knowing on what it has started.
        let is_behind =
            |(it, end): &(Arc<Tracked>, Option<Mark>)| end.is_some() && !Arc::ptr_eq(it, tracked);
        let is_news = !is_whole
            || thread.awaiting(self.engine()).iter().any(is_behind)
            || self.is_node()
                && self.left_since(&view, thread.id, before, known).await? != Since::Nothing;
        if is_news {
            self.look_elsewhere(&view, thread).await?;
        }
        Ok(())
    }

    /// Has a run that does not start on what its thread has then, and that others may have
    /// overtaken, wait until it ends behind the last one there all the same: one of a fork.
    pub(super) fn in_turn(&self, graph: &Arc<Component>, thread: &Arc<Thread>) -> Arc<Component> {
        let all = (self.clone(), Arc::clone(thread));
        Arc::new(graph.beginning_with(move |ctx| {
            let (app, thread) = all.clone();
            async move {
                until_replaced_ended(&ctx).await?;
                // What a store in trouble does not tell would have to have ended just now.
                if app.is_read_again(&thread) {
                    let _ = Box::pin(app.look_elsewhere(&app.all(), &thread)).await;
                }
                let last = thread.ground(app.engine()).last;
                app.until_behind(last, ctx.run().id()).await;
                Ok(())
            }
        }))
    }
}

/// Has a run keep on what it starts, unless it does. What it cannot keep, because the engine has no
/// room for that, is made of what the runs before it have left: and not of what it was made on.
fn keep(ctx: &RunContext, ground: &Ground, needs_next: bool) {
    let run = RunView::from(ctx.run());
    let next = needs_next.then_some(&*ground.next);
    let nobody = || Mark::new(NOBODY.0, NOBODY.1);
    let is_kept = match last_in_base(&run) {
        None => base_of(&run).is_some(),
        Some(last) => {
            last == ground.last.unwrap_or_else(nobody)
                && base_of(&run).is_some_and(|kept| to_base(kept) == ground.values)
                && next_of(&run).as_deref() == next
        }
    };
    let kept = match is_kept {
        false => ctx.annotate(&on_start(ground.values.as_deref(), next)),
        true if is_to_begin(&run) => ctx.annotate(&began()),
        true => return,
    };
    if let Err(error) = kept {
        let run = ctx.run().id();
        tracing::warn!(run.uuid = %run, %error, "a run does not keep on what it has started");
        // A text of a few bytes: mostly there is room for that.
        let _ = ctx.annotate(&unkept());
    }
}

/// Waits until those have ended whose place a run has taken. Its lane waits for the one of them
/// that executed; those that waited are stopped, and might end behind it: then the thread would
/// tell of one of them.
async fn until_replaced_ended(ctx: &RunContext) -> Result<(), Stopped> {
    for replaced in ctx.run().superseded() {
        ctx.run_until_stopped(replaced.ended_status()).await?;
    }
    Ok(())
}

/// How long a run that is stopped as it starts looks still for what it has started on.
const KNOWN_WITHIN: Duration = Duration::from_millis(500);

/// How often a thread is looked at for a run of which others are deleted all the time, or for which
/// what is stored cannot be read.
const LOOKS_MAX: u32 = 5;

/// The pause behind a look at a store that is in trouble.
pub(super) const LOOK_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use quell::{
        Engine, EngineConfig, Limits, OnBusy, Payload, RunId, RunKind, RunLimits, RunSpec, Scope,
    };
    use quell_flow::Catalog;
    use quell_http::{SESSION, Service, Start};
    use quell_test_support::soon;
    use tokio::sync::Notify;
    use uuid::Uuid;

    use super::*;
    use crate::app::behind::tests::behind_another;
    use crate::app::gone::tests::two;
    use crate::options::Options;
    use crate::threads::within;
    use crate::wire::asked::{Asked, row_in_thread, write_base, write_behind};
    use crate::wire::exact::{Keys, written};

    #[tokio::test]
    async fn what_a_run_was_made_on_does_not_count_if_it_cannot_keep_on_what_it_starts() {
        let limits = Limits::default().live_bytes_max(4 << 20);
        let engine = Engine::with_config(EngineConfig::new().limits(limits));
        let of = |bytes| Keys::from([("x".to_owned(), "x".repeat(bytes).into())]);
        let ground = Ground { values: to_base(of(4 << 20)), ..Ground::default() };
        let body = move |ctx: RunContext, input: Payload| {
            keep(&ctx, &ground, false);
            async { Ok(input) }
        };
        let graph = Arc::new(Component::agent("r", body));
        let app = App::new(Service::new(engine, Catalog::new()), Options::default());
        let start = Start::new(&graph, 1.into());
        let start = write_base(start, (Some(&of(1 << 20)), None), Some(NOBODY));
        let run = app.all().start(start).await.unwrap().run;
        let view = RunView::from(&run);
        assert!(base_of(&view).is_some(), "it was made on that");
        run.quiescent().await;
        assert_eq!((base_of(&view), last_in_base(&view)), (None, None));
    }

    #[tokio::test]
    async fn a_run_that_others_may_overtake_counts_as_never_started_until_it_keeps_on_what_it_does()
    {
        let (app, on) =
            (App::new(Service::new(Engine::new(), Catalog::new()), Options::default()), 1);
        let ground = Ground {
            values: to_base(Keys::from([("x".to_owned(), on.into())])),
            ..Ground::default()
        };
        for keeps in [false, true] {
            let known = ground.clone();
            let body = move |ctx: RunContext, _input: Payload| {
                if keeps {
                    keep(&ctx, &known, false);
                }
                async move { Ok(written(&ctx.stopped().await.to_string())) }
            };
            let graph = Arc::new(Component::agent("r", body));
            let base = ground.values.as_deref();
            let start =
                write_behind(write_base(Start::new(&graph, 1.into()), (base, None), Some(NOBODY)));
            let run = app.all().start(start).await.unwrap().run;
            soon("it has started", || run.row().started_at.is_some()).await;
            run.cancel(quell::CancelRequest::because("enough").abort());
            run.quiescent().await;
            assert_eq!(row_in_thread(&(&run).into()).started_at.is_some(), keeps);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn those_whose_place_a_run_has_taken_have_ended_when_it_goes_on() {
        let none = RunLimits::new().running_max(0);
        let config = EngineConfig::new().limit(Scope::component(RunKind::Agent, "waits"), none);
        let engine = Engine::with_config(config);
        let app = App::new(Service::new(engine.clone(), Catalog::new()), Options::default());
        let thread = Arc::new(Thread::new(Uuid::now_v7(), None, &Keys::new(), false));
        let graph = Arc::new(Component::agent("r", async |_ctx, input: Payload| Ok(input)));
        let graph = app.in_turn(&graph, &thread);
        // Unless it waits, it ends before them in one of a hundred.
        for _ in 0..2_000 {
            let waits = RunSpec::agent("waits").lane("l", OnBusy::Enqueue);
            let waits = engine.submit(waits, async |_ctx| Ok(())).unwrap().into_ref();
            let spec = graph.spec().lane("l", OnBusy::CancelExisting);
            let run = graph.start(&engine, spec, "hi".into()).unwrap().into_ref();
            run.ended().await;
            assert!(run.row().ended_at >= waits.row().ended_at);
        }
    }

    #[tokio::test]
    async fn a_run_that_makes_its_thread_executes_nothing_before_the_thread_is_there_with_it() {
        let [a, _b] = two();
        let thread = Thread::new(Uuid::now_v7(), None, &Keys::new(), false);
        let thread = a.make_thread(thread, true).await.unwrap().unwrap();
        let (app, of, has_begun) = (a.clone(), Arc::clone(&thread), Arc::new(Notify::new()));
        let begun = Arc::clone(&has_begun);
        let spec = RunSpec::agent("r").label(SESSION, thread.id.to_string());
        let body = async move |ctx: RunContext| {
            let ground = app.left_to(&of, &ctx).await?;
            begun.notify_one();
            Ok(ground.values.is_some())
        };
        let id = RunId::from_uuid(Uuid::now_v7());
        let any = a.engine().submit(spec.clone(), body.clone()).unwrap().into_ref();
        let asked = Asked::elsewhere(&(&any).into(), "r");
        let tracked = Tracked::new(id, "r", within(thread.id), &asked).held_until_made();
        assert!(thread.add(&Arc::new(tracked)));
        has_begun.notified().await;
        let run = a.engine().submit_durably(spec.id(id), body).await.unwrap().into_ref();
        assert!(timeout(Duration::from_millis(50), has_begun.notified()).await.is_err());
        assert!(a.check_made(&thread, &run, true).await.unwrap());
        has_begun.notified().await;
        run.ended().await;
    }

    #[tokio::test]
    async fn so_does_one_of_a_fork_that_another_process_has_left() {
        let [_a, b] = two();
        let graph = Arc::new(Component::agent("r", async |_ctx, input: Payload| Ok(input)));
        let any = b.all().start(Start::new(&graph, 1.into())).await.unwrap().run;
        any.quiescent().await;
        let asked = Asked::elsewhere(&(&any).into(), "r");
        let asked = Asked { fork: Some(Uuid::now_v7()), ..asked };
        let start = asked.write(Start::new(&graph, 1.into()), &1.into());
        let start = start.label(SESSION, Uuid::now_v7().to_string());
        let left = b.all().start(start).await.unwrap().run;
        b.adopt(&left, None).unwrap();
        assert!(b.work_left(&left, &graph).is_some(), "it does not wait for its turn");
    }

    #[tokio::test]
    async fn so_does_one_of_a_fork() {
        let (app, thread, _, mark) = behind_another(Duration::from_millis(200)).await;
        let graph = Arc::new(Component::agent("r", async |_ctx, input: Payload| Ok(input)));
        let graph = app.in_turn(&graph, &thread);
        let run = graph.start(app.engine(), graph.spec(), "hi".into()).unwrap().into_ref();
        run.quiescent().await;
        assert!(Mark::of(&run.row()) > mark);
    }
}
