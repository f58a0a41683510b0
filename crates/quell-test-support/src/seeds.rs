//! [`seeds`]: randomness that can be repeated.

use std::env;
use std::ops::Range;

use fastrand::Rng;

/// Yields one generator per round. `QUELL_LONG=1` takes ten times as many rounds, `QUELL_SEED`
/// repeats a single one. A round that panics prints its seed.
pub fn seeds(count: u64) -> impl Iterator<Item = (Seed, Rng)> {
    let range: Range<u64> = given().map_or_else(
        || {
            let first = fastrand::u64(0..u64::MAX / 2);
            first..first + rounds(count)
        },
        |seed| seed..seed + 1,
    );
    range.map(|seed| (Seed(seed), Rng::with_seed(seed)))
}

/// Tells whether `QUELL_SEED` repeats a single round: then a test can expect nothing of the rounds
/// as a whole.
pub fn is_repeat() -> bool {
    given().is_some()
}

fn given() -> Option<u64> {
    env::var("QUELL_SEED").ok()?.parse().ok()
}

fn rounds(rounds: u64) -> u64 {
    if env::var("QUELL_LONG").is_ok_and(|long| long == "1") { rounds * 10 } else { rounds }
}

/// The seed of a round. It prints itself when the test panics while it is alive.
#[derive(Debug)]
pub struct Seed(pub u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with QUELL_SEED={}", self.0);
        }
    }
}
