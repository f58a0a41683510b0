//! The accounts of several engines, and the cluster between them.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use quell_core::cluster::{SlotShare, SlotsHeld, share};

use super::slots::{Account, Exchange};
use crate::tables::admission::Need;

#[derive(Clone, Debug)]
enum Step {
    /// So many runs come to a node.
    Come(usize, usize),
    /// One ends.
    End(usize),
    /// The exchange of a node is carried out.
    Exchange(usize),
    /// The answer arrives, or is lost.
    Answer(usize, bool),
    /// A second passes.
    Second,
}

#[derive(Debug)]
struct Engine {
    account: Account,
    running: usize,
    waiting: usize,
    asked: Option<Exchange>,
    answer: Option<SlotsHeld>,
}

/// Some engines and the cluster between them.
struct World {
    max: usize,
    now: Instant,
    clock: u64,
    engines: Vec<Engine>,
    shares: Vec<SlotShare>,
}

impl World {
    fn new(max: usize) -> Self {
        let engine = || Engine {
            account: Account::new(),
            running: 0,
            waiting: 0,
            asked: None,
            answer: None,
        };
        let engines = (0..3).map(|_| engine()).collect();
        let (now, shares) = (Instant::now(), vec![SlotShare::default(); 3]);
        Self { max, now, clock: 0, engines, shares }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Come(nth, count) => self.engines[nth].waiting += count,
            Step::End(nth) => {
                self.engines[nth].running = self.engines[nth].running.saturating_sub(1);
            }
            Step::Exchange(nth) => self.exchange(nth),
            Step::Answer(nth, arrives) => self.answer(nth, arrives),
            Step::Second => {
                self.now += Duration::from_secs(1);
                self.engines.iter_mut().for_each(|engine| engine.account.look(false));
            }
        }
        for engine in &mut self.engines {
            let Engine { account, running, waiting, asked, .. } = engine;
            let free = account.allowance().max.saturating_sub(*running).min(*waiting);
            (*running, *waiting) = (*running + free, *waiting - free);
            let need = Need { running: *running, most: *running, waiting: *waiting };
            if let Some(exchange) = account.decide(need, self.now, true) {
                assert!(asked.replace(exchange).is_none());
            }
        }
        let running: usize = self.engines.iter().map(|engine| engine.running).sum();
        let held: usize = self.shares.iter().map(|share| share.held).sum();
        assert!(running <= held && held <= self.max, "{running} {held} of {}", self.max);
    }

    fn exchange(&mut self, nth: usize) {
        let Some(Exchange { give, want, spare }) = self.engines[nth].asked.take() else {
            return;
        };
        let mut others = self.shares.clone();
        let own = others.remove(nth);
        let shared = share(self.max, own, &others, (give, want, spare));
        self.clock += 1;
        let held = own.held - shared.gave + shared.got;
        let since = if shared.is_last { self.clock } else { own.since };
        self.shares[nth] = SlotShare { held, wants: shared.wants, since };
        self.engines[nth].answer = Some(SlotsHeld {
            limit: "all".into(),
            max: self.max,
            set_by: "a".into(),
            held,
            taken: self.shares.iter().map(|share| share.held).sum(),
            waits: shared.wants > 0,
            may_keep: shared.may_keep,
        });
        if shared.tells {
            let others = self.engines.iter_mut().enumerate().filter(|(it, _)| *it != nth);
            others.for_each(|(_, engine)| engine.account.look(true));
        }
    }

    fn answer(&mut self, nth: usize, arrives: bool) {
        let engine = &mut self.engines[nth];
        if let Some(answer) = engine.answer.take() {
            engine.account.answered(Some(&answer).filter(|_| arrives));
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let nth = || 0..3_usize;
    prop_oneof![
        3 => (nth(), 1..5_usize).prop_map(|(nth, count)| Step::Come(nth, count)),
        6 => nth().prop_map(Step::End),
        6 => nth().prop_map(Step::Exchange),
        6 => (nth(), prop::bool::weighted(0.9)).prop_map(|(nth, ok)| Step::Answer(nth, ok)),
        1 => Just(Step::Second),
    ]
}

proptest! {
    #[test]
    fn all_engines_together_run_no_more_than_the_limit_and_all_that_waits_starts(
        max in 1..6_usize,
        steps in proptest::collection::vec(any_step(), 1..120),
    ) {
        let mut world = World::new(max);
        for step in &steps {
            world.take(step);
        }
        // As long as runs end, and calls do, all of them start: one after the other.
        for _ in 0..2_000 {
            if world.engines.iter().all(|it| it.running + it.waiting == 0) {
                break;
            }
            for nth in 0..3 {
                let steps = [Step::Exchange(nth), Step::Answer(nth, true), Step::End(nth)];
                for step in &steps {
                    world.take(step);
                }
            }
        }
        let left: usize = world.engines.iter().map(|it| it.running + it.waiting).sum();
        prop_assert_eq!(left, 0, "{:?}", world.engines);
        // And what is left idle is given back.
        for _ in 0..8 {
            world.take(&Step::Second);
            for nth in 0..3 {
                world.take(&Step::Exchange(nth));
                world.take(&Step::Answer(nth, true));
            }
        }
        prop_assert!(world.shares.iter().all(|share| share.held == 0), "{:?}", world.shares);
    }
}
