//! How many processes a suite run kills, and where.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::io::Write as _;

use quell_test_support::is_repeat;

/// The kills of one test.
pub(crate) struct Killed {
    test: &'static str,
    at: BTreeMap<String, BTreeMap<String, usize>>,
    seeds: Vec<u64>,
}

impl Killed {
    pub(crate) fn of(test: &'static str) -> Self {
        assert!(AT_LEAST.iter().any(|(name, _)| *name == test), "{test} has no number of kills");
        Self { test, at: BTreeMap::new(), seeds: Vec::new() }
    }

    /// Counts a kill at a point of something.
    pub(crate) fn at(&mut self, point: impl Display, what: impl Display) {
        let of_point = self.at.entry(point.to_string()).or_default();
        *of_point.entry(what.to_string()).or_default() += 1;
    }

    /// Remembers the seed of a round.
    pub(crate) fn seed(&mut self, seed: u64) {
        self.seeds.push(seed);
    }

    /// Tells what was killed, also when the test passes. Fails if a point of something was not met,
    /// or there were too few kills.
    pub(crate) fn tell(self, points: impl IntoIterator<Item = (String, String)>) {
        let kills: usize = self.at.values().flat_map(BTreeMap::values).sum();
        let mut told = format!("{}: {kills} kills", self.test);
        for (point, of_point) in &self.at {
            let counts: Vec<_> =
                of_point.iter().map(|(it, count)| format!("{count} {it}")).collect();
            write!(told, "\n  {point}: {}", counts.join(", ")).unwrap();
        }
        if let (Some(first), Some(last)) = (self.seeds.first(), self.seeds.last()) {
            write!(told, "\n  QUELL_SEED={first} repeats a round, to {last}").unwrap();
        }
        // Not by a macro: what those print of a test that passes is thrown away.
        let _ = writeln!(std::io::stderr().lock(), "{told}");
        if is_repeat() {
            return;
        }
        let is_met = |(point, what): &(String, String)| {
            self.at.get(point).is_some_and(|of_point| of_point.contains_key(what))
        };
        let not_met: Vec<_> = points.into_iter().filter(|it| !is_met(it)).collect();
        assert!(not_met.is_empty(), "nothing was killed at {not_met:?}: {told}");
        let (_, at_least) = AT_LEAST.iter().find(|(name, _)| *name == self.test).unwrap();
        assert!(kills >= *at_least, "fewer than {at_least}: {told}");
    }
}

/// How many kills each test has at least.
const AT_LEAST: [(&str, usize); 7] = [
    ("acts", 100),
    ("copies", 20),
    ("engines", 90),
    ("migrations", 60),
    ("prunes", 5),
    ("stores", 5),
    ("writers", 20),
];

/// What a suite run kills at least.
const _: () = {
    let (mut nth, mut all) = (0, 0);
    while nth < AT_LEAST.len() {
        all += AT_LEAST[nth].1;
        nth += 1;
    }
    assert!(all >= 200);
};
