//! [`Progress`] decides which lines of the plain view are shown without `-v`: a few a second.

use std::time::Duration;

/// Lets through at most [`LINES_MAX`] lines in any second, by the times of their events.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// When the last lines were let through, the oldest first.
    let_through: [Option<Duration>; LINES_MAX],
    /// How many lines were held back since then.
    held_back: usize,
}

impl Progress {
    /// Takes a line whose event came at `at`, from the acceptance of the root. Yields how many were
    /// held back before it if it is to be shown; none if it is held back too.
    pub(crate) fn admit(&mut self, at: Duration) -> Option<usize> {
        // A clock that was set back by more than a second holds nothing back.
        if self.let_through[0].is_some_and(|oldest| at.abs_diff(oldest) < SECOND) {
            self.held_back += 1;
            return None;
        }
        self.let_through.rotate_left(1);
        self.let_through[LINES_MAX - 1] = Some(at);
        Some(std::mem::take(&mut self.held_back))
    }
}

/// The most lines of progress in a second.
const LINES_MAX: usize = 4;

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(ms: impl IntoIterator<Item = u64>) -> Vec<Option<usize>> {
        let mut progress = Progress::default();
        ms.into_iter().map(|ms| progress.admit(Duration::from_millis(ms))).collect()
    }

    #[test]
    fn a_second_has_four_lines_and_the_next_one_counts_those_that_were_held_back() {
        let shown = [Some(0), Some(0), Some(0), Some(0), None, None, Some(2), None, Some(1)];
        assert_eq!(admitted([0, 10, 20, 300, 400, 999, 1_000, 1_009, 1_010]), shown);
    }

    #[test]
    fn lines_that_come_slowly_are_all_shown_and_so_are_those_after_the_clock_was_set_back() {
        assert!(admitted((0..20).map(|n| n * 250)).iter().all(|shown| *shown == Some(0)));
        let back = [9_000, 9_001, 9_002, 9_003, 5, 6];
        assert!(admitted(back).iter().all(|shown| *shown == Some(0)));
    }
}
