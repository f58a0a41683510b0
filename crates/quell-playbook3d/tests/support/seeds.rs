//! Randomness that can be repeated, and races that stay races.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many rounds a random test takes: `QUELL_LONG=1` takes ten times as many.
pub(crate) fn rounds(rounds: u64) -> u64 {
    if env::var("QUELL_LONG").is_ok_and(|long| long == "1") { rounds * 10 } else { rounds }
}

/// A seed per round, from `QUELL_SEED` on or from a random one; the first is printed.
pub(crate) fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let first = env::var("QUELL_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = first.unwrap_or(u64::from(now.subsec_nanos()) ^ now.as_secs().rotate_left(20));
    eprintln!("repeat with QUELL_SEED={first}");
    (0..rounds(count)).map(move |round| first.wrapping_add(round))
}

/// A number below `below` made of a seed (`SplitMix64`).
pub(crate) fn number(seed: u64, below: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}

/// Keeps a race open: each outcome makes the other one likelier the next time.
#[derive(Debug)]
pub(crate) struct Servo {
    lead: i64,
    step: i64,
    counts: [u64; 2],
    /// Who won last, and how often in a row: the longer, the larger are the strides. How far the
    /// handicap has to go depends on the machine, and on what else it does.
    streak: (bool, u32),
}

impl Servo {
    /// Starts even, and moves by up to `step` units a round.
    pub(crate) const fn new(step: i64) -> Self {
        Self { lead: 0, step, counts: [0, 0], streak: (false, 0) }
    }

    /// Units by which the first and the second runner are held back.
    pub(crate) fn handicaps(&self, seed: u64) -> (u64, u64) {
        let spread = self.step * 2 + self.lead.abs() / 2;
        let lead = self.lead + number(seed, spread.unsigned_abs() * 2 + 1).cast_signed() - spread;
        (lead.max(0).unsigned_abs(), lead.min(0).unsigned_abs())
    }

    /// Notes who came first, and hands them a handicap.
    pub(crate) fn first_won(&mut self, first: bool) {
        self.counts[usize::from(first)] += 1;
        self.streak = (first, if self.streak.0 == first { self.streak.1 + 1 } else { 0 });
        let stride = self.step << (self.streak.1 / 8).min(12);
        self.lead = (self.lead + if first { stride } else { -stride }).clamp(-1_000_000, 1_000_000);
    }

    /// Fails if an outcome was below five percent: then it was no race.
    pub(crate) fn assert_raced(&self) {
        let total: u64 = self.counts.iter().sum();
        for count in self.counts {
            assert!(count * 20 >= total, "no race, outcomes {:?}", self.counts);
        }
    }
}
