//! A run that is paused: T5 to T7, I24, as random histories against a model that knows four things.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use quell_core::lifecycle::{
    BodyEnd, Effects, HookAction, Input, Lifecycle, Rules, StopInput, Trigger, later,
};
use quell_core::{RunStatus, StopMode};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Start,
    Pause(Option<u64>),
    Return,
    Resume,
    Stop(StopMode),
    AddChild,
    EndChild,
    AddHook,
    AddWork,
    /// Hooks, closures, or what made the next body: whatever was counted, ends.
    EndWork,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let mode =
        prop_oneof![Just(StopMode::AfterStep), Just(StopMode::Cooperative), Just(StopMode::Abort)];
    let step = prop_oneof![
        3 => Just(Step::Start),
        4 => proptest::option::of(0..40_u64).prop_map(Step::Pause),
        1 => Just(Step::Return),
        4 => Just(Step::Resume),
        1 => mode.prop_map(Step::Stop),
        1 => Just(Step::AddChild),
        2 => Just(Step::EndChild),
        1 => Just(Step::AddHook),
        1 => Just(Step::AddWork),
        3 => Just(Step::EndWork),
        2 => (0..30_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..60)
}

/// What the embedder of the machine knows besides.
struct World {
    life: Lifecycle,
    now: Instant,
    body_runs: bool,
    starts: u32,
    children: u32,
    work: u32,
    stopped: bool,
}

impl World {
    fn feed(&mut self, input: Input) -> Effects {
        let before = self.life.status();
        let fx = self.life.on(input, self.now);
        self.work += u32::from(matches!(fx.hooks, HookAction::Run | HookAction::RunNew));
        // Hooks that nobody runs are dropped as one piece of work.
        self.work += u32::from(matches!(fx.hooks, HookAction::Skip | HookAction::Abort));
        self.work += u32::from(fx.drops_maker);
        let is_first = fx.accepted.is_some() && !self.stopped;
        self.stopped |= fx.accepted.is_some();
        let after = self.life.status();
        if fx.paused {
            assert_eq!((before, after), (RunStatus::Running, RunStatus::Paused), "T5");
            assert!(!self.body_runs && self.children == 0, "quiescent (I24)");
            assert!(!self.stopped, "a stop comes to no pause");
        }
        if before == RunStatus::Paused && after != RunStatus::Paused {
            assert!(after == RunStatus::Queued || (is_first && fx.drops_maker), "T6, T7: {after}");
            assert!(fx.ended.is_none(), "what would have made its body is dropped first (I4)");
        }
        if self.stopped {
            assert!(!matches!(after, RunStatus::Completed | RunStatus::Failed), "I9");
            assert!(!matches!(after, RunStatus::Queued | RunStatus::Paused), "I24: {after}");
        }
        fx
    }

    fn play_all(&mut self, steps: impl IntoIterator<Item = Step>) {
        steps.into_iter().for_each(|step| self.play(step));
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Start => {
                if !self.feed(Input::Started).refused {
                    self.body_runs = true;
                    self.starts += 1;
                }
            }
            Step::Pause(expires_in) if self.body_runs => {
                self.body_runs = false;
                let expires_in = expires_in.map(ms);
                self.feed(Input::BodyEnded(BodyEnd::Paused { expires_in }));
            }
            Step::Return if self.body_runs => {
                self.body_runs = false;
                self.feed(Input::BodyEnded(BodyEnd::Ok));
            }
            Step::Resume => {
                let was = self.life.status();
                let refused = self.feed(Input::Resumed).refused;
                assert_eq!(refused, was != RunStatus::Paused, "only a paused run is resumed");
            }
            Step::Stop(mode) => {
                let (grace, wait) = (Some(ms(10)), Some(ms(4)));
                let request = StopInput { mode, grace, wait, escalate_after: ms(20) };
                self.feed(Input::Stop(request));
            }
            Step::AddChild => {
                let was = self.life.status();
                let refused = self.feed(Input::ChildAdded { shielded: false }).refused;
                assert!(refused || was != RunStatus::Paused, "nothing starts in a paused run");
                self.children += u32::from(!refused);
            }
            Step::EndChild if self.children > 0 => {
                self.children -= 1;
                self.feed(Input::ChildEnded { unseen_failure: false, non_quiescent: false });
            }
            Step::AddHook => {
                let was = self.life.status();
                let refused = self.feed(Input::HookAdded { at_end: true }).refused;
                assert!(refused || was != RunStatus::Paused, "nothing starts in a paused run");
            }
            Step::AddWork => {
                let refused = self.feed(Input::WorkAdded { shielded: false }).refused;
                self.work += u32::from(!refused);
            }
            Step::EndWork if self.work > 0 => {
                self.work -= 1;
                self.feed(Input::WorkEnded);
            }
            Step::Wait(time) => {
                let until = later(self.now, ms(time));
                while let Some(at) = self.life.next_wakeup().filter(|at| *at <= until) {
                    self.now = at.max(self.now);
                    let fx = self.feed(Input::Tick { active_at: self.now });
                    if let Some(stage) = fx.ladder {
                        self.feed(Input::Ladder(stage));
                    }
                }
                self.now = until;
            }
            Step::Pause(_) | Step::Return | Step::EndChild | Step::EndWork => {}
        }
    }
}

fn world(rules: &Rules) -> World {
    let now = Instant::now();
    let life = Lifecycle::new(rules, now);
    World { life, now, body_runs: false, starts: 0, children: 0, work: 0, stopped: false }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn i24_every_history_keeps_the_rules_of_a_pause(
        steps in steps(),
        timeout in proptest::option::of(20..200_u64),
        timeout_stands: bool,
    ) {
        let mut rules = Rules::new(ms(10), ms(4));
        rules.timeout = timeout.map(ms);
        rules.timeout_stands = timeout_stands;
        let mut world = world(&rules);
        world.play_all(steps);
    }
}

#[test]
fn the_histories_of_pauses_reach_every_edge() {
    let mut world = world(&Rules::new(ms(10), ms(4)));
    for _ in 0..3 {
        world.play_all([Step::Start, Step::Pause(Some(30)), Step::Resume]);
    }
    assert_eq!((world.starts, world.life.status()), (3, RunStatus::Queued));
    world.play_all([Step::Start, Step::Pause(Some(30)), Step::Wait(29)]);
    assert_eq!(world.life.status(), RunStatus::Paused);
    world.play_all([Step::Wait(1), Step::EndWork]);
    assert_eq!(world.life.status(), RunStatus::TimedOut, "it was not resumed in time");
}

#[test]
fn a_timeout_counts_pauses_unless_it_stands_still() {
    for stands in [false, true] {
        let mut rules = Rules::new(ms(10), ms(4));
        (rules.timeout, rules.timeout_stands) = (Some(ms(100)), stands);
        let mut world = world(&rules);
        let start = world.now;
        world.play_all([Step::Start, Step::Wait(60), Step::Pause(None)]);
        let paused = world.life.timeout_at();
        assert_eq!(paused, (!stands).then(|| start + ms(100)));
        world.play_all([Step::Wait(30), Step::Resume]);
        let left = start + ms(if stands { 130 } else { 100 });
        assert_eq!(world.life.timeout_at(), Some(left));
        let fx = {
            world.now = left;
            world.feed(Input::Tick { active_at: left })
        };
        assert_eq!(fx.accepted, Some(Trigger::Timeout));
    }
}
