//! [`Growth`]: which pieces of a message are shown with all that was said before (contract,
//! section 8).

use std::time::{Duration, SystemTime};

/// How far a text has come. What it shows follows from the pieces and their times alone, so that
/// every reader of a log is shown the same.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    bytes: usize,
    /// When it was shown last, and its bytes then.
    shown: Option<(SystemTime, usize)>,
}

impl Growth {
    /// Goes on behind so many bytes.
    pub(super) fn behind(bytes: usize) -> Self {
        Self { bytes, shown: None }
    }

    /// Takes a piece. Yields the bytes of the text so far if it is shown with this piece.
    pub(super) fn take(&mut self, piece: usize, at: SystemTime) -> Option<usize> {
        let before = self.bytes;
        self.bytes = before.saturating_add(piece);
        let is_due = self.bytes <= EACH_SECOND_MAX
            && self.shown.is_none_or(|(last, _)| {
                at.duration_since(last).is_ok_and(|since| since >= Duration::from_secs(1))
            });
        let is_shown = self.bytes <= EACH_PIECE_MAX || step(before) != step(self.bytes) || is_due;
        if piece == 0 || !is_shown {
            return None;
        }
        self.shown = Some((at, self.bytes));
        Some(self.bytes)
    }

    /// Yields the bytes of the text so far if some of it was not shown.
    pub(super) fn rest(self) -> Option<usize> {
        let shown = self.shown.map_or(0, |(_, bytes)| bytes);
        (self.bytes > shown).then_some(self.bytes)
    }
}

/// Yields which step of its growth a text has reached: there are [`STEPS`] until it is twice as
/// long.
const fn step(bytes: usize) -> (u32, usize) {
    let doublings = (bytes | STEPS).ilog2();
    (doublings, bytes >> (doublings - STEPS.ilog2()))
}

/// Until here every piece is shown: one byte at a time, this is 8 MiB.
const EACH_PIECE_MAX: usize = 4 << 10;

/// Until here a text is shown each second, if there are pieces.
const EACH_SECOND_MAX: usize = 64 << 10;

/// How often a text is shown until it is twice as long: all that is shown so is at most 48 times
/// the text.
const STEPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: usize, bytes: usize, apart: Duration) -> Vec<usize> {
        let mut growth = Growth::default();
        let at = |nth| SystemTime::UNIX_EPOCH + apart * u32::try_from(nth).unwrap();
        (0..pieces).filter_map(|nth| growth.take(bytes, at(nth))).collect()
    }

    #[test]
    fn what_is_shown_is_bounded_by_the_text_however_it_is_cut() {
        for (pieces, bytes) in [(1 << 20, 1), (1 << 18, 4), (1 << 12, 4_000), (10, 1 << 20)] {
            let all = shown(pieces, bytes, Duration::ZERO);
            let sum: usize = all.iter().filter(|shown| **shown > EACH_PIECE_MAX).sum();
            assert!(sum <= 48 * pieces * bytes + 2 * all.last().unwrap(), "{pieces} {sum}");
            let small: usize = all.iter().filter(|shown| **shown <= EACH_PIECE_MAX).sum();
            assert!(small < (8 << 20) + EACH_PIECE_MAX, "{small}");
        }
    }

    #[test]
    fn a_text_grows_by_a_32nd_at_most_before_it_is_shown() {
        let all = shown(100_000, 10, Duration::ZERO);
        assert!(all.iter().take(409).copied().eq((1..=409).map(|nth| nth * 10)), "each at first");
        for two in all.windows(2) {
            assert!(two[1] - two[0] <= two[0] / STEPS + 10, "{two:?}");
        }
    }

    #[test]
    fn a_text_that_grows_slowly_is_shown_each_second_while_it_is_not_large() {
        let slow = shown(10_000, 10, Duration::from_secs(1));
        assert_eq!(slow.iter().filter(|shown| **shown <= EACH_SECOND_MAX).count(), 6_553);
        assert!(slow.len() < 6_553 + 40);
        let two = shown(5_000, 10, Duration::from_millis(500));
        let times: Vec<_> = two.windows(2).map(|two| (two[1] - two[0]) / 10).collect();
        assert!(times.iter().all(|pieces| *pieces <= 2), "{times:?}");
    }

    #[test]
    fn what_was_said_and_not_shown_is_the_rest() {
        let mut growth = Growth::behind(10_000);
        let at = SystemTime::UNIX_EPOCH;
        assert_eq!(growth.take(1, at), Some(10_001), "the first that a reader hears");
        assert_eq!((growth.rest(), growth.take(0, at), growth.take(1, at)), (None, None, None));
        assert_eq!(growth.rest(), Some(10_002));
    }
}
