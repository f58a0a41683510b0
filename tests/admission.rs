use std::future::Future as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Instant;

use quell::testing::held;
use quell::{
    CancelRequest, Engine, OnBusy, RunContext, RunFilter, RunId, RunKind, RunLimits, RunRef,
    RunSpec, RunStatus, Scope, Shutdown, SubmitError,
};
use tokio_util::sync::CancellationToken;

use crate::support::{Lab, Witness, config, listener, ms, naive, now, secs, soon, within};

/// A state in which a run may be when its id is submitted again.
#[derive(Clone, Copy, Debug)]
enum State {
    Due,
    Ready,
    Behind,
    Running,
    Stopping,
    Ended,
}

/// What the duplicate asks for.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Nothing,
    SameLane(OnBusy),
    OtherLane(OnBusy),
    SameDue,
}

const STATES: [State; 6] =
    [State::Due, State::Ready, State::Behind, State::Running, State::Stopping, State::Ended];

const ASKS: [Ask; 6] = [
    Ask::Nothing,
    Ask::SameLane(OnBusy::Enqueue),
    Ask::SameLane(OnBusy::Reject),
    Ask::OtherLane(OnBusy::Enqueue),
    Ask::OtherLane(OnBusy::Reject),
    Ask::SameDue,
];

/// One lane and one slot, with runs that hold them, wait for them, and one whose id comes again.
struct Scene {
    lab: Lab,
    lane: Witness,
    slots: Witness,
    due: Instant,
}

impl Scene {
    fn new(slots: usize) -> Self {
        let due = now() + secs(5);
        let lab = Lab::with(config().control_on_runtime().running_max(slots));
        Self { lab, lane: Witness::new(), slots: Witness::new(), due }
    }

    /// Submits a run of a second that says when it is in the lane, and in a slot.
    fn submit(&self, spec: RunSpec, in_lane: bool) -> Result<RunRef, SubmitError> {
        let (lane, slots) = (self.lane.clone(), self.slots.clone());
        let run = self.lab.submit(spec, async move |ctx: RunContext| {
            let _slot = slots.enter();
            let _lane = in_lane.then(|| lane.enter());
            assert!(lane.inside() <= 1, "two runs of one lane overlap");
            let _ = ctx.run_until_stopped(tokio::time::sleep(secs(1))).await;
            tokio::time::sleep(ms(100)).await;
            Ok(())
        });
        run.map(quell::RunHandle::into_ref)
    }

    /// Brings a run with this id into a state.
    async fn bring(&self, id: RunId, state: State) -> RunRef {
        let spec = RunSpec::agent("original").id(id);
        match state {
            State::Due => self.submit(spec.lane("L", OnBusy::Enqueue).not_before(self.due), true),
            State::Ready => {
                self.submit(RunSpec::agent("holds the slot"), false).unwrap();
                self.submit(spec, false)
            }
            State::Behind => {
                self.submit(RunSpec::agent("holds the lane").lane("L", OnBusy::Enqueue), true)
                    .unwrap();
                self.submit(spec.lane("L", OnBusy::Enqueue), true)
            }
            State::Running | State::Stopping | State::Ended => {
                let run = self.submit(spec.lane("L", OnBusy::Enqueue), true).unwrap();
                tokio::time::sleep(ms(10)).await;
                if !matches!(state, State::Running) {
                    run.cancel(CancelRequest::because("enough"));
                }
                if matches!(state, State::Ended) {
                    run.ended().await;
                }
                Ok(run)
            }
        }
        .unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn i36_a_duplicate_id_is_refused_in_every_state_and_takes_nothing_from_anybody() {
    for state in STATES {
        for ask in ASKS {
            let scene = Scene::new(1);
            let id = RunId::from_text("once");
            let original = scene.bring(id, state).await;
            tokio::time::sleep(ms(10)).await;
            let next = scene.submit(RunSpec::agent("next").lane("L", OnBusy::Enqueue), true);
            let next = next.unwrap();
            tokio::time::sleep(ms(10)).await;
            let before = (held(&scene.lab), original.status(), next.status());
            let spec = RunSpec::agent("duplicate").id(id);
            let spec = match ask {
                Ask::Nothing => spec,
                Ask::SameLane(on_busy) => spec.lane("L", on_busy),
                Ask::OtherLane(on_busy) => spec.lane("M", on_busy),
                Ask::SameDue => spec.lane("L", OnBusy::Enqueue).not_before(scene.due),
            };
            let refused = scene.submit(spec, false).unwrap_err();
            assert_eq!(refused, SubmitError::IdInUse(id), "{state:?}, {ask:?}");
            tokio::time::sleep(ms(10)).await;
            let after = (held(&scene.lab), original.status(), next.status());
            assert_eq!(before, after, "{state:?}, {ask:?}");
            for run in [original, next] {
                let report = within(&format!("{state:?}, {ask:?}"), run.quiescent()).await;
                let cancelled = matches!(state, State::Stopping | State::Ended);
                let is_expected = report.status == RunStatus::Completed || cancelled;
                assert!(is_expected && report.own_row().started_at.is_some(), "{report:?}");
            }
            assert_eq!(held(&scene.lab).admission, 0, "{state:?}, {ask:?}");
            scene.lab.finish().await;
        }
    }
}

#[tokio::test]
async fn i36_of_duplicates_at_one_instant_exactly_one_runs_and_the_lane_goes_on() {
    let bodies = tokio::runtime::Handle::current();
    let lab = Lab::with(config().runtime(bodies).running_max(2));
    let (lane, ran) = (Witness::new(), Arc::new(AtomicUsize::new(0)));
    for round in 0..300 {
        let id = RunId::from_text(&format!("round {round}"));
        let submit = |engine: Engine, lane: Witness, ran: Arc<AtomicUsize>| {
            move || {
                let spec = RunSpec::agent("twin").id(id).lane("L", OnBusy::Enqueue);
                engine.submit(spec, async move |_| {
                    let _inside = lane.enter();
                    assert_eq!(lane.inside(), 1, "two runs of one lane overlap");
                    ran.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok(())
                })
            }
        };
        let twins =
            [(); 3].map(|()| thread::spawn(submit((*lab).clone(), lane.clone(), Arc::clone(&ran))));
        let runs = twins.map(|twin| twin.join().unwrap());
        assert_eq!(runs.iter().filter(|run| run.is_ok()).count(), 1, "round {round}");
    }
    for run in lab.runs(&RunFilter::new()) {
        within("every run of the lane has its turn", run.quiescent()).await;
    }
    assert_eq!(ran.load(Ordering::SeqCst), 300);
    assert_eq!(held(&lab).admission, 0);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn i39_runs_that_are_cancelled_while_they_wait_leave_every_queue() {
    let lab = Lab::with(config().control_on_runtime().running_max(1));
    let first = lab.submit(RunSpec::agent("first").lane("L", OnBusy::Enqueue), naive).unwrap();
    tokio::task::yield_now().await;
    let before = held(&lab).admission;
    let due = now() + secs(3600);
    for n in 0..3_000 {
        let spec = RunSpec::agent("waits");
        let spec = match n % 3 {
            0 => spec,
            1 => spec.lane("L", OnBusy::Enqueue),
            _ => spec.lane("M", OnBusy::Enqueue).not_before(due),
        };
        let run = lab.submit(spec, naive).unwrap().into_ref();
        run.cancel(CancelRequest::because("not any more"));
        run.ended().await;
    }
    assert_eq!(held(&lab).admission, before, "nothing of them is left");
    first.cancel(CancelRequest::because("enough"));
    first.ended().await;
    assert_eq!(held(&lab).admission, 0);
    lab.finish().await;
}

/// How all of a crowd are stopped at once.
#[derive(Clone, Copy, Debug)]
enum Sweep {
    ParentToken,
    LinkedToken,
    CancelWhere,
    Shutdown,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i21_who_waits_does_not_start_because_those_before_it_are_stopped() {
    for sweep in [Sweep::ParentToken, Sweep::LinkedToken, Sweep::CancelWhere, Sweep::Shutdown] {
        let token = CancellationToken::new();
        let mut config = config().running_max(4);
        if matches!(sweep, Sweep::ParentToken) {
            config = config.parent_token(token.clone());
        }
        let lab = Lab::with(config);
        let started = Witness::new();
        let mut runs = Vec::new();
        for _ in 0..6_000 {
            let started = started.clone();
            let spec = RunSpec::agent("one of many");
            let spec = match sweep {
                Sweep::LinkedToken => spec.linked_to(token.clone()),
                _ => spec,
            };
            let run = lab.submit(spec, async move |ctx| {
                let _inside = started.enter();
                listener(ctx).await
            });
            runs.push(run.unwrap().into_ref());
        }
        soon("four run", || started.entered() == 4).await;
        match sweep {
            Sweep::ParentToken | Sweep::LinkedToken => token.cancel(),
            Sweep::CancelWhere => {
                lab.cancel_where(&RunFilter::new(), CancelRequest::because("all"));
            }
            Sweep::Shutdown => drop(lab.shutdown(Shutdown::default()).await),
        }
        for run in &runs {
            let report = within("every run ends", run.quiescent()).await;
            assert_eq!(report.status, RunStatus::Cancelled);
        }
        assert_eq!(started.entered(), 4, "{sweep:?}");
        lab.finish().await;
    }
}

/// Holds up the thread that wakes it.
struct Sleeps;

impl Wake for Sleeps {
    fn wake(self: Arc<Self>) {
        thread::sleep(ms(200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i21_nobody_starts_because_the_run_before_it_in_its_lane_is_stopped() {
    let slow = Scope::component(RunKind::Agent, "slow");
    for is_shutdown in [false, true] {
        let limits = RunLimits::new().running_max(0);
        let (lab, started) = (Lab::with(config().limit(slow.clone(), limits)), Witness::new());
        let lane = |name: &'static str| RunSpec::agent(name).lane("lane", OnBusy::Enqueue);
        let mut ids = ["a", "b", "c"].map(RunId::from_text);
        ids.sort_unstable();
        let holder = lab.submit(lane("slow").id(ids[2]), listener).unwrap().into_ref();
        let between = RunSpec::agent("slow").id(ids[1]);
        let between = lab.submit(between, listener).unwrap().into_ref();
        let witness = started.clone();
        let behind = lab.submit(lane("fast").id(ids[0]), async move |ctx| {
            let _inside = witness.enter();
            listener(ctx).await
        });
        let behind = behind.unwrap().into_ref();
        // The stop of one holds up the thread that stops all: what it has let start would start.
        let (mut ended, waker) = (Box::pin(between.ended()), Waker::from(Arc::new(Sleeps)));
        assert!(ended.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        if is_shutdown {
            drop(lab.shutdown(Shutdown::default()).await);
        } else {
            lab.cancel_where(&RunFilter::new(), CancelRequest::because("all"));
        }
        for run in [&holder, &between, &behind] {
            within("it ends", run.quiescent()).await;
        }
        assert_eq!(started.entered(), 0, "shutdown: {is_shutdown}");
        drop(ended);
        lab.finish().await;
    }
}

/// Forgets a run and submits another with its id, when it is woken.
struct Again {
    engine: Engine,
    id: RunId,
    second: OnceLock<RunRef>,
    witness: Witness,
}

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        if self.engine.forget(self.id).is_err() {
            return;
        }
        for spec in [RunSpec::agent("second").id(self.id), RunSpec::agent("third")] {
            let witness = self.witness.clone();
            let run = self.engine.submit(spec.lane("lane", OnBusy::Enqueue), async move |_| {
                let _inside = witness.enter();
                tokio::task::yield_now().await;
                assert_eq!(witness.inside(), 1, "one at a time");
                Ok(())
            });
            // The first one is the second.
            let _ = self.second.set(run.unwrap().into_ref());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i36_a_run_with_the_id_of_a_forgotten_one_waits_for_its_own_turn() {
    let lab = Lab::with(config().running_max(1));
    let (id, witness) = (RunId::from_text("again"), Witness::new());
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let spec = RunSpec::agent("first").id(id).lane("lane", OnBusy::Enqueue);
    let body = async move |_| {
        let _ = gone.await;
        Ok(())
    };
    let first = lab.submit(spec, body).unwrap().into_ref();
    let engine = Engine::clone(&lab);
    let again = Again { engine, id, second: OnceLock::new(), witness: witness.clone() };
    let again = Arc::new(again);
    // It is woken when the first run is over and has not left admission yet.
    let waker = Waker::from(Arc::clone(&again));
    let mut quiescent = Box::pin(first.quiescent());
    assert!(quiescent.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    go.send(()).unwrap();
    soon("it is submitted again", || again.second.get().is_some()).await;
    drop(quiescent);
    let second = within("the second run", again.second.get().unwrap().quiescent()).await;
    assert_eq!(second.status, RunStatus::Completed);
    soon("both have left", || witness.entered() == 2 && held(&lab).admission == 0).await;
    drop(again);
    drop(first);
    lab.finish().await;
}

#[tokio::test(start_paused = true)]
async fn t6_an_answered_run_waits_for_a_slot_behind_those_that_wait_already() {
    let lab = Lab::with(config().control_on_runtime().running_max(1));
    let asks =
        async |ctx: RunContext| ctx.resumed_with().map_or_else(|| Err(ctx.pause("?")), |_| Ok(()));
    let asks = lab.submit_resumable(RunSpec::agent("asks"), asks).unwrap().into_ref();
    within("it asks", asks.paused()).await.unwrap();
    let holder = lab.submit(RunSpec::agent("holder"), listener).unwrap().into_ref();
    soon("its slot is free", || holder.status() == RunStatus::Running).await;
    let waits = lab.submit(RunSpec::agent("waits"), listener).unwrap().into_ref();
    asks.resume("yes").unwrap();
    holder.cancel(CancelRequest::because("its turn is over"));
    soon("who came first has the slot", || waits.status() == RunStatus::Running).await;
    assert_eq!(asks.status(), RunStatus::Queued);
    waits.cancel(CancelRequest::because("its turn is over"));
    assert_eq!(within("then it goes on", asks.ended()).await.status, RunStatus::Completed);
    lab.finish().await;
}
