//! Randomness that can be repeated, and races that stay races.

use std::env;
use std::ops::Range;

use fastrand::Rng;

/// How many rounds a random test takes: `QUELL_LONG=1` takes ten times as many.
fn rounds(rounds: u64) -> u64 {
    if env::var("QUELL_LONG").is_ok_and(|long| long == "1") { rounds * 10 } else { rounds }
}

/// One generator per round. `QUELL_SEED` repeats one round; a round that panics names its seed.
pub(crate) fn seeds(count: u64) -> impl Iterator<Item = (Seed, Rng)> {
    let seed = env::var("QUELL_SEED").ok().and_then(|seed| seed.parse().ok());
    let range: Range<u64> = seed.map_or_else(
        || {
            let first = fastrand::u64(0..u64::MAX / 2);
            first..first + rounds(count)
        },
        |seed| seed..seed + 1,
    );
    range.map(|seed| (Seed(seed), Rng::with_seed(seed)))
}

/// Tells its number when a test panics while it is alive.
#[derive(Debug)]
pub(crate) struct Seed(pub(crate) u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "a failed round has to name its seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with QUELL_SEED={}", self.0);
        }
    }
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
    /// Starts even, and moves by up to `step` spins a round.
    pub(crate) const fn new(step: i64) -> Self {
        Self { lead: 0, step, counts: [0, 0], streak: (false, 0) }
    }

    /// Spins to wait for the first and the second runner.
    pub(crate) fn handicaps(&self, rng: &mut Rng) -> (u32, u32) {
        let lead = self.lead + rng.i64(-self.step..=self.step);
        let spins = |spins: i64| u32::try_from(spins.max(0)).unwrap_or(u32::MAX);
        (spins(lead), spins(-lead))
    }

    /// Notes who came first, and hands them a handicap.
    pub(crate) fn first_won(&mut self, first: bool) {
        self.counts[usize::from(first)] += 1;
        self.streak = (first, if self.streak.0 == first { self.streak.1 + 1 } else { 0 });
        let stride = self.step << (self.streak.1 / 8).min(12);
        self.lead = (self.lead + if first { stride } else { -stride }).clamp(-1_000_000, 1_000_000);
    }

    /// Fails if an outcome was below five percent: then it was no race.
    pub(crate) fn assert_raced(&self, what: &str) {
        let total: u64 = self.counts.iter().sum();
        if env::var("QUELL_SEED").is_ok() {
            return;
        }
        for count in self.counts {
            assert!(count * 20 >= total, "{what}: no race, outcomes {:?}", self.counts);
        }
    }
}
