//! [`Servo`]: races that stay races.

use fastrand::Rng;

use crate::is_repeat;

/// Keeps a race open: each outcome makes the other one likelier the next time.
#[derive(Debug)]
pub struct Servo {
    lead: i64,
    step: i64,
    is_wide: bool,
    counts: [u64; 2],
    /// Who won last, and how often in a row: the longer, the larger are the strides. How far the
    /// handicap has to go depends on the machine, and on what else it does.
    streak: (bool, u32),
}

impl Servo {
    /// Starts even, and moves by up to `step` units a round.
    pub const fn new(step: i64) -> Self {
        Self { lead: 0, step, is_wide: false, counts: [0, 0], streak: (false, 0) }
    }

    /// As [`new`](Self::new), with handicaps that scatter by half the lead: for races whose units
    /// are coarse, such as polls of a task.
    pub const fn wide(step: i64) -> Self {
        Self { is_wide: true, ..Self::new(step) }
    }

    /// Units by which the first and the second runner are held back.
    pub fn handicaps(&self, rng: &mut Rng) -> (u32, u32) {
        let spread = if self.is_wide { self.step * 2 + self.lead.abs() / 2 } else { self.step };
        let lead = self.lead + rng.i64(-spread..=spread);
        let units = |units: i64| u32::try_from(units.max(0)).unwrap_or(u32::MAX);
        (units(lead), units(-lead))
    }

    /// Notes who came first, and hands them a handicap.
    pub fn first_won(&mut self, first: bool) {
        self.counts[usize::from(first)] += 1;
        self.streak = (first, if self.streak.0 == first { self.streak.1 + 1 } else { 0 });
        let stride = self.step << (self.streak.1 / 8).min(12);
        self.lead = (self.lead + if first { stride } else { -stride }).clamp(-1_000_000, 1_000_000);
    }

    /// Fails if an outcome was below five percent: then it was no race.
    pub fn assert_raced(&self, what: &str) {
        let total: u64 = self.counts.iter().sum();
        if is_repeat() {
            return;
        }
        for count in self.counts {
            assert!(count * 20 >= total, "{what}: no race, outcomes {:?}", self.counts);
        }
    }
}
