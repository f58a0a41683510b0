//! [`play`]: what happens in a scripted hour, and what of it is to be counted: each scene says that
//! itself, from the times that were drawn for it.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use fastrand::Rng;
use quell::{
    CancelRequest, CauseKind, Engine, Failure, OnBusy, Payload, RunContext, RunRef, RunSpec,
    ToolCall, Work, limits,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::{ignorant, listener, ms, naive, secs, within};

/// What is to be counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Witness {
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) took: BTreeMap<&'static str, Vec<Duration>>,
}

impl Witness {
    fn count(&mut self, what: impl Into<String>, count: u64) {
        *self.counts.entry(what.into()).or_default() += count;
    }

    fn ended(&mut self, status: &str, cause: &str, runs: u64) {
        self.count(format!("ended_runs{{status={status},cause={cause}}}"), runs);
    }

    /// A stop that a run was asked for itself, and that left nothing behind.
    fn stopped(&mut self, took: Duration) {
        self.took("cancel_to_terminal_seconds", took);
        self.took("cancel_to_quiescent_seconds", took);
    }

    /// A root that has started.
    fn waited(&mut self, took: Duration) {
        self.took("queue_wait_seconds", took);
    }

    fn took(&mut self, what: &'static str, took: Duration) {
        self.took.entry(what).or_default().push(took);
    }

    pub(super) fn add(&mut self, other: Self) {
        other.counts.into_iter().for_each(|(what, count)| self.count(what, count));
        for (what, took) in other.took {
            self.took.entry(what).or_default().extend(took);
        }
    }
}

/// Plays a scene of every sort at a drawn moment of the hour, some of them more than once.
pub(super) async fn play(engine: &Engine, rng: &mut Rng, scenes: u32) -> Witness {
    let began = Instant::now();
    let scenes = (0..scenes).map(|nr| {
        let at = began + ms(rng.u64(0..3_600_000));
        let scene = Scene { engine: engine.clone(), nr, rng: rng.fork() };
        tokio::spawn(async move {
            sleep_until(at).await;
            scene.play().await
        })
    });
    let scenes: Vec<_> = scenes.collect();
    let mut witness = Witness::default();
    for scene in scenes {
        witness.add(scene.await.expect("a scene is played to its end"));
    }
    witness
}

/// Something that happens to one run, or a few.
struct Scene {
    engine: Engine,
    nr: u32,
    rng: Rng,
}

impl Scene {
    async fn play(mut self) -> Witness {
        let mut seen = Witness::default();
        match self.nr % 17 {
            0 => self.completes(&mut seen).await,
            1 => self.fails(&mut seen).await,
            2 => self.fails_above_a_child(&mut seen).await,
            3 => self.gives_way(&mut seen).await,
            4 => self.is_deaf(&mut seen).await,
            5 => self.leaves_work_behind(&mut seen).await,
            6 => self.abandons_work_and_completes(&mut seen).await,
            7 => self.is_out_of_time(&mut seen).await,
            8 => self.is_idle(&mut seen).await,
            9 => self.is_a_tree(&mut seen).await,
            10 => self.says_more_after_its_end(&mut seen).await,
            11 => self.starts_more_after_its_stop(&mut seen).await,
            12 => self.decides(&mut seen).await,
            13 => self.waits_for_its_lane(&mut seen).await,
            14 => self.is_due_later(&mut seen).await,
            15 => self.never_starts(&mut seen).await,
            _ => self.is_read_too_slowly(&mut seen).await,
        }
        seen
    }

    /// Draws a time of up to so many seconds, some of them shorter than any bound.
    fn draw(&mut self, secs: u64) -> Duration {
        let most = self.rng.choice([10, 1_000, secs * 1_000]).unwrap_or(1);
        ms(self.rng.u64(1..=most))
    }

    fn submit<F, Fut>(&self, spec: RunSpec, body: F) -> RunRef
    where
        F: FnOnce(RunContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.engine.submit(spec, body).expect("it is accepted").into_ref()
    }

    async fn completes(&mut self, seen: &mut Witness) {
        let works = self.draw(100);
        let run = self.submit(RunSpec::agent("completes"), async move |_| {
            sleep(works).await;
            Ok(())
        });
        over(&run).await;
        seen.waited(Duration::ZERO);
        seen.ended("completed", "none", 1);
    }

    async fn fails(&mut self, seen: &mut Witness) {
        let works = self.draw(100);
        let run = self.submit(RunSpec::agent("fails"), async move |_| {
            sleep(works).await;
            Err(Failure::new("it fails"))
        });
        over(&run).await;
        seen.waited(Duration::ZERO);
        seen.ended("failed", "none", 1);
    }

    async fn fails_above_a_child(&mut self, seen: &mut Witness) {
        let run = self.submit(RunSpec::team("fails above"), async |ctx| {
            let child = ctx.spawn(RunSpec::agent("below"), listener);
            sleep(secs(1)).await;
            drop(child);
            Err(Failure::new("it fails"))
        });
        over(&run).await;
        seen.waited(Duration::ZERO);
        seen.ended("failed", "none", 1);
        seen.ended("cancelled", "parent-failed", 1);
    }

    async fn gives_way(&mut self, seen: &mut Witness) {
        const KINDS: [CauseKind; 5] = [
            CauseKind::UserRequest,
            CauseKind::RaceLost,
            CauseKind::Superseded,
            CauseKind::Disconnected,
            CauseKind::BudgetExceeded,
        ];
        let (works, takes) = (self.draw(50), self.draw(20));
        let kind = self.rng.choice(KINDS).expect("there are some");
        let run = self.submit(RunSpec::agent("gives way"), async move |ctx| {
            ctx.stopped().await;
            sleep(takes).await;
            Ok(())
        });
        sleep(works).await;
        let request = CancelRequest::because("enough").kind(kind).grace(takes + secs(1));
        run.cancel(request);
        over(&run).await;
        seen.waited(Duration::ZERO);
        seen.ended("cancelled", kind.as_str(), 1);
        seen.stopped(takes);
    }

    async fn is_deaf(&mut self, seen: &mut Witness) {
        let grace = self.draw(20);
        let run = self.submit(RunSpec::agent("is deaf"), ignorant);
        sleep(ms(1)).await;
        run.cancel(CancelRequest::because("enough").grace(grace));
        over(&run).await;
        seen.waited(Duration::ZERO);
        seen.ended("cancelled", "user-request", 1);
        seen.stopped(grace);
        seen.count("aborted", 1);
    }

    /// Hands work over of which nobody knows how long it takes: it may end before the run is given
    /// up, or after that.
    async fn leaves_work_behind(&mut self, seen: &mut Witness) {
        let (grace, mut takes) = (self.draw(10), self.draw(40));
        if takes == grace + limits::ABORT_WAIT {
            // Either might come first.
            takes += ms(1);
        }
        let run = self.submit(RunSpec::agent("leaves work"), async move |ctx| {
            let hold = ctx.hold(Work::Remote, "elsewhere")?;
            ctx.stopped().await;
            tokio::spawn(async move {
                sleep(takes).await;
                drop(hold);
            });
            Ok(())
        });
        sleep(ms(1)).await;
        run.cancel(CancelRequest::because("enough").grace(grace));
        over(&run).await;
        seen.waited(Duration::ZERO);
        seen.ended("cancelled", "user-request", 1);
        let given_up = grace + limits::ABORT_WAIT;
        seen.took("cancel_to_quiescent_seconds", takes);
        seen.took("cancel_to_terminal_seconds", takes.min(given_up));
        if takes > given_up {
            seen.count("abandoned{what=remote}", 1);
            seen.took("honesty_gap_seconds", takes.saturating_sub(given_up));
        }
    }

    async fn abandons_work_and_completes(&mut self, seen: &mut Witness) {
        let takes = self.draw(100);
        let run = self.submit(RunSpec::agent("abandons"), async move |ctx| {
            let mut hold = ctx.hold(Work::Process, "program")?;
            hold.abandon();
            tokio::spawn(async move {
                sleep(takes).await;
                drop(hold);
            });
            Ok(())
        });
        over(&run).await;
        seen.waited(Duration::ZERO);
        seen.ended("completed", "none", 1);
        seen.count("abandoned{what=process}", 1);
        seen.took("honesty_gap_seconds", takes);
    }

    async fn is_out_of_time(&mut self, seen: &mut Witness) {
        let timeout = self.draw(100);
        over(&self.submit(RunSpec::agent("is slow").timeout(timeout), naive)).await;
        seen.waited(Duration::ZERO);
        seen.ended("timed-out", "deadline", 1);
        seen.stopped(Duration::ZERO);
    }

    async fn is_idle(&mut self, seen: &mut Witness) {
        let idle = self.draw(100);
        over(&self.submit(RunSpec::agent("is idle").idle(idle), naive)).await;
        seen.waited(Duration::ZERO);
        seen.ended("timed-out", "idle-timeout", 1);
        seen.stopped(Duration::ZERO);
    }

    /// However many runs a stop reaches, it is one.
    async fn is_a_tree(&mut self, seen: &mut Witness) {
        let children = self.rng.u64(1..20);
        let run = self.submit(RunSpec::team("is a tree"), async move |ctx| {
            for _ in 0..children {
                drop(ctx.spawn(RunSpec::agent("below"), naive));
            }
            pending().await
        });
        sleep(ms(1)).await;
        run.cancel(CancelRequest::because("enough"));
        over(&run).await;
        seen.waited(Duration::ZERO);
        seen.ended("cancelled", "user-request", 1);
        seen.ended("cancelled", "parent-stopped", children);
        seen.stopped(Duration::ZERO);
    }

    async fn says_more_after_its_end(&mut self, seen: &mut Witness) {
        let words = self.rng.u64(1..10);
        let (tell, told) = tokio::sync::oneshot::channel();
        let run = self.submit(RunSpec::agent("says more"), async move |ctx| {
            tell.send(ctx).map_err(|_| Failure::new("nobody is there"))
        });
        let ctx = told.await.expect("it has started");
        over(&run).await;
        for _ in 0..words {
            ctx.emit("too late");
        }
        ctx.usage(quell::Usage::default());
        seen.waited(Duration::ZERO);
        seen.ended("completed", "none", 1);
        seen.count("late_outputs", words + 1);
    }

    async fn starts_more_after_its_stop(&mut self, seen: &mut Witness) {
        let children = self.rng.u64(1..5);
        let run = self.submit(RunSpec::agent("starts more"), async move |ctx| {
            ctx.stopped().await;
            for _ in 0..children {
                ctx.spawn(RunSpec::step("more"), naive).await.expect_err("it is fenced");
            }
            ctx.hold(Work::Remote, "more").expect_err("it is fenced");
            let call = ToolCall::new("call", "more", Payload::from(""));
            ctx.tool(call, async { Ok(Payload::from("")) }).await.expect_err("it is fenced");
            Ok(())
        });
        sleep(ms(1)).await;
        run.cancel(CancelRequest::because("enough"));
        over(&run).await;
        seen.waited(Duration::ZERO);
        seen.ended("cancelled", "user-request", 1);
        seen.stopped(Duration::ZERO);
        seen.count("refused", children + 2);
    }

    async fn decides(&mut self, seen: &mut Witness) {
        let (works, lags) = (self.draw(10), self.draw(30));
        let run = self.submit(RunSpec::step("decides"), async move |ctx| {
            let wall = std::time::SystemTime::UNIX_EPOCH;
            sleep(works).await;
            ctx.emit_decided(wall, None)?;
            sleep(lags).await;
            ctx.emit_settled(wall);
            Ok(())
        });
        over(&run).await;
        seen.waited(Duration::ZERO);
        seen.ended("completed", "none", 1);
        seen.took("settle_lag_seconds", lags);
    }

    async fn waits_for_its_lane(&mut self, seen: &mut Witness) {
        let works = self.draw(200);
        let spec = || RunSpec::agent("in a lane").lane(self.nr.to_string(), OnBusy::Enqueue);
        let first = self.submit(spec(), async move |_| {
            sleep(works).await;
            Ok(())
        });
        let second = self.submit(spec(), async |_| Ok(()));
        over(&first).await;
        over(&second).await;
        seen.waited(Duration::ZERO);
        seen.waited(works);
        seen.ended("completed", "none", 2);
    }

    async fn is_due_later(&mut self, seen: &mut Witness) {
        let due = Instant::now() + self.draw(200);
        let spec = RunSpec::agent("is due later").not_before(due.into_std());
        over(&self.submit(spec, async |_| Ok(()))).await;
        seen.waited(Duration::ZERO);
        seen.ended("completed", "none", 1);
    }

    async fn never_starts(&mut self, seen: &mut Witness) {
        let due = Instant::now() + self.draw(100) + secs(1);
        let spec = RunSpec::agent("never starts").not_before(due.into_std());
        let run = self.submit(spec, naive);
        sleep(ms(1)).await;
        run.cancel(CancelRequest::because("enough"));
        over(&run).await;
        seen.ended("cancelled", "user-request", 1);
        seen.stopped(Duration::ZERO);
    }

    async fn is_read_too_slowly(&mut self, seen: &mut Witness) {
        let mut events = self.engine.events();
        let run = self.submit(RunSpec::agent("is not read"), async |ctx| {
            for word in 0..limits::SUBSCRIBER_BACKLOG_MAX {
                ctx.emit(word.to_string());
            }
            Ok(())
        });
        over(&run).await;
        assert!(events.next().await.is_some_and(|event| event.seq == 0), "it is told");
        seen.waited(Duration::ZERO);
        seen.ended("completed", "none", 1);
        seen.count("lagged", 1);
    }
}

/// Waits until nothing of a run executes any more.
async fn over(run: &RunRef) {
    within("it is over", run.quiescent()).await;
}
