//! A thread against a list of what its runs have left: whatever comes when, the values are those
//! that the last run has left that is not deleted.

use std::sync::Arc;

use proptest::prelude::*;
use quell::{CancelRequest, Engine, Failure, OnBusy, Payload, RunContext, RunId, RunRef, RunSpec};
use quell_flow::{Component, Reducer};
use serde_json::json;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::threads::{Card, Thread, Tracked, Within, within};
use crate::wire::exact::Keys;

/// What is done with a thread. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// A run starts, and looks at its thread when it does, or is made on what there is.
    Begins {
        looks: bool,
    },
    /// It ends.
    Ends(End),
    /// One is made that never starts.
    IsGivenUp,
    /// The engine forgets an ended run, of which the thread is asked before, or not.
    IsForgotten(usize),
    /// It is taken out.
    IsUndone(usize),
    /// Who follows a run that is rolled back removes it, or lets it go.
    IsRemoved(usize),
    IsReleased(usize),
    /// The oldest one makes room.
    MakesRoom,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Well,
    Failed,
    RolledBack,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let end = prop_oneof![3 => Just(End::Well), 1 => Just(End::Failed), 2 => Just(End::RolledBack)];
    let act = prop_oneof![
        5 => any::<bool>().prop_map(|looks| Act::Begins { looks }),
        5 => end.prop_map(Act::Ends),
        1 => Just(Act::IsGivenUp),
        4 => (0..9_usize).prop_map(Act::IsForgotten),
        4 => (0..9_usize).prop_map(Act::IsUndone),
        2 => (0..9_usize).prop_map(Act::IsRemoved),
        1 => (0..9_usize).prop_map(Act::IsReleased),
        1 => Just(Act::MakesRoom),
    ];
    prop::collection::vec(act, 1..24)
}

/// A run that has ended, or is about to.
struct One {
    run: RunRef,
    tracked: Arc<Tracked>,
    /// What it leaves.
    said: Vec<usize>,
    is_rolled_back: bool,
    /// The engine has forgotten it, and the thread was asked for it before.
    is_forgotten: bool,
    known: Option<Arc<Tracked>>,
    has_made_room: bool,
}

struct Model {
    engine: Engine,
    thread: Thread,
    /// What the thread was made with.
    base: Vec<usize>,
    /// Those that are not taken out, in the order in which they have ended.
    ended: Vec<One>,
    live: Option<(One, oneshot::Sender<bool>)>,
    out: Vec<RunId>,
    made: usize,
    /// Some have made room: then less may be known.
    is_small: bool,
}

fn appends() -> Within {
    let graph = Component::agent("r", async |_ctx, input: Payload| Ok(input));
    let reducers = graph.reducer("said", Reducer::Append).reducers().clone();
    Within { reducers, ..within(Uuid::nil()) }
}

fn keys(said: &[usize]) -> Keys {
    serde_json::from_value(json!({ "said": said })).unwrap()
}

impl Model {
    fn new(has_base: bool) -> Self {
        let thread = Thread::new(Uuid::nil(), None, &Keys::new(), false);
        let (base, values) =
            if has_base { (vec![0], Some(Arc::new(keys(&[0])))) } else { (Vec::new(), None) };
        let thread = thread.with_card(Card { base: values, ..Card::new(&Keys::new()) }, 9);
        let (ended, out) = (Vec::new(), Vec::new());
        Self {
            engine: Engine::new(),
            thread,
            base,
            ended,
            live: None,
            out,
            made: 0,
            is_small: false,
        }
    }

    fn shown(&self) -> Vec<usize> {
        let values = self.thread.values(&self.engine);
        let said = values.and_then(|values| values.get("said")?.parse().ok());
        said.unwrap_or_default()
    }

    fn enter(&mut self, run: RunRef, said: Vec<usize>) -> One {
        let tracked = Arc::new(Tracked::of(&(&run).into(), appends()));
        tracked.begin(&run);
        assert!(self.thread.add(&tracked));
        let (is_rolled_back, is_forgotten, has_made_room) = (false, false, false);
        One { run, tracked, said, is_rolled_back, is_forgotten, known: None, has_made_room }
    }

    fn begin(&mut self, looks: bool) {
        if self.live.is_some() {
            return;
        }
        self.made += 1;
        let mut said = self.shown();
        said.push(self.made);
        let (ends, end) = oneshot::channel();
        let spec = RunSpec::agent("r").input(json!({ "said": [self.made] }).into());
        let body = async |ctx: RunContext| {
            let is_well = tokio::select! {
                biased;
                told = end => told == Ok(true),
                _ = ctx.stopped() => false,
            };
            if is_well { Ok(()) } else { Err(Failure::new("no")) }
        };
        let run = self.engine.submit(spec, body).unwrap().into_ref();
        let ground = self.thread.ground(&self.engine);
        let one = self.enter(run, said);
        if looks {
            self.thread.starts(&self.engine, &one.tracked, &one.run);
        } else {
            one.tracked.begins_on(ground);
        }
        self.live = Some((one, ends));
    }

    async fn end(&mut self, end: End) {
        let Some((mut one, ends)) = self.live.take() else { return };
        match end {
            End::Well | End::Failed => drop(ends.send(matches!(end, End::Well))),
            End::RolledBack => {
                one.is_rolled_back = true;
                drop(one.run.cancel(CancelRequest::because("no").rollback()));
            }
        }
        one.run.quiescent().await;
        self.ended.push(one);
    }

    /// Makes a run behind one that is busy, and stops it.
    async fn give_up(&mut self) {
        let spec = || RunSpec::agent("r").lane("one", OnBusy::Enqueue);
        let busy = async |ctx: RunContext| {
            ctx.stopped().await;
            Ok(())
        };
        let busy = self.engine.submit(spec(), busy).unwrap().into_ref();
        let never = self.engine.submit(spec(), async |_ctx| Ok(())).unwrap().into_ref();
        let one = self.enter(never, Vec::new());
        for run in [&one.run, &busy] {
            drop(run.cancel(CancelRequest::because("no")));
            run.quiescent().await;
        }
        assert!(one.run.row().started_at.is_none());
        self.ended.push(One { is_rolled_back: true, ..one });
    }

    async fn act(&mut self, act: Act) {
        let nth =
            |nth: usize| if self.ended.is_empty() { None } else { Some(nth % self.ended.len()) };
        match act {
            Act::Begins { looks } => self.begin(looks),
            Act::Ends(end) => self.end(end).await,
            Act::IsGivenUp => self.give_up().await,
            Act::IsForgotten(at) => {
                let Some(one) = nth(at).map(|nth| &mut self.ended[nth]) else { return };
                if !one.is_forgotten {
                    (one.is_forgotten, one.known) = (true, self.thread.find(one.run.id()));
                    // The engine forgets by itself what was rolled back.
                    let _ = one.run.forget();
                }
            }
            Act::IsUndone(at) => {
                let Some(nth) = nth(at).filter(|nth| self.ended[*nth].is_forgotten) else {
                    return;
                };
                let one = self.ended.remove(nth);
                self.out.push(one.run.id());
                self.thread.undo(&self.engine, one.run.id(), one.known);
            }
            Act::IsRemoved(at) => {
                let one = nth(at).map(|nth| &self.ended[nth]);
                if let Some(one) = one.filter(|one| one.run.is_rolled_back()) {
                    self.thread.remove(one.run.id());
                }
            }
            Act::IsReleased(at) => {
                if let Some(one) = nth(at).map(|nth| &self.ended[nth]) {
                    one.tracked.release();
                }
            }
            Act::MakesRoom => {
                if let Some(oldest) = self.ended.iter_mut().find(|one| !one.has_made_room) {
                    (oldest.has_made_room, self.is_small) = (true, true);
                    self.thread.evict(&self.engine, oldest.run.id());
                }
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let last = self.ended.iter().rfind(|one| !one.is_rolled_back);
        let all = last.map_or(&self.base, |one| &one.said);
        let shown = self.shown();
        let may_be_base = self.is_small && last.is_some_and(|one| one.has_made_room);
        prop_assert!(shown == *all || may_be_base && shown == self.base, "{shown:?}, not {all:?}");
        let state = self.thread.state.lock();
        let runs = state.ended.iter().chain(&state.live);
        let back = runs.filter_map(|one| one.back.lock().as_ref()?.last);
        for mark in back.chain(state.wrote) {
            prop_assert!(!self.out.contains(&mark.run()), "{mark:?} is taken out");
        }
        Ok(())
    }
}

fn plays(acts: &[Act], has_base: bool) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut model = Model::new(has_base);
        for act in acts {
            model.act(*act).await;
            model.check()?;
        }
        // Without all of its runs it is as it was made.
        model.end(End::Well).await;
        while !model.ended.is_empty() {
            model.act(Act::IsForgotten(acts.len())).await;
            model.act(Act::IsUndone(acts.len())).await;
            model.check()?;
        }
        prop_assert_eq!(model.shown(), model.base);
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    })]

    #[test]
    fn a_thread_has_what_its_last_run_has_left_whatever_comes_when(
        acts in acts(), has_base in any::<bool>()
    ) {
        plays(&acts, has_base)?;
    }
}

#[test]
fn a_run_that_is_being_deleted_goes_back_to_none_that_is_deleted_meanwhile() {
    let (begins, ends) = (|| Act::Begins { looks: false }, || Act::Ends(End::Well));
    let has_left = [
        begins(),
        ends(),
        Act::IsReleased(0),
        begins(),
        ends(),
        Act::IsReleased(1),
        Act::IsForgotten(1),
        begins(),
    ];
    plays(&has_left, false).unwrap();
    let makes_room = [
        begins(),
        ends(),
        begins(),
        Act::MakesRoom,
        ends(),
        Act::IsForgotten(5),
        begins(),
        Act::IsReleased(1),
    ];
    plays(&makes_room, false).unwrap();
}
