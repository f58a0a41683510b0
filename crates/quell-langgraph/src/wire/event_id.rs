//! [`event_id`] and [`Slot`]: the ids of the events of a resumable stream.

use std::time::UNIX_EPOCH;

use quell::RunEvent;

/// Which frame of an event of the log it is. No event has two of one slot, and its frames are in
/// this order, so that an id says what is shown and not how many frames a reader has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Slot {
    Metadata,
    Custom,
    /// A piece of a message.
    Piece,
    /// What comes before the first piece.
    Announced,
    /// A message, as far as it has come or whole.
    Message,
    Updates,
    Tasks,
    Debug,
    Events,
    Checkpoints,
    /// The message of a run that returned it without saying it.
    AnswerPiece,
    AnswerAnnounced,
    AnswerMessage,
    Values,
    /// What a step has left, and what begins behind it.
    StepCheckpoint,
    StepDebug,
    StepTasks,
    StepHeld,
    Error,
    End,
}

/// Makes an event id: `<13-digit ms>-<6-digit sequence>`, strictly rising per run, also as text.
///
/// The sequence counts slots; each time it is through, the instant is one millisecond later.
pub(crate) fn event_id(ms: u64, seq: u64, slot: Slot) -> String {
    let number = seq.saturating_mul(SLOTS).saturating_add(u64::from(slot as u8));
    let ms = ms.saturating_add(number / SEQUENCE_MAX);
    format!("{ms:013}-{:06}", number % SEQUENCE_MAX)
}

pub(crate) fn ms_of(event: &RunEvent) -> u64 {
    let since = event.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Yields the `seq` of the event of an id, modulo [`SEQS`].
pub(crate) fn seq_of(id: &str) -> Option<u64> {
    let (_, number) = id.split_once('-')?;
    number.parse::<u64>().ok().map(|number| number / SLOTS)
}

/// The slots of one event.
const SLOTS: u64 = Slot::End as u64 + 1;

const SEQUENCE_MAX: u64 = 1_000_000;

/// Events until the sequence is through.
pub(crate) const SEQS: u64 = SEQUENCE_MAX / SLOTS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_rise_as_text_also_when_the_sequence_is_through() {
        assert_eq!(event_id(1_795_155_873_614, 2, Slot::AnswerPiece), "1795155873614-000050");
        assert_eq!(seq_of("1795155873614-000050"), Some(2));
        let mut last = String::new();
        for seq in (0..400).chain(49_900..50_100).chain(99_990..100_010) {
            for slot in [Slot::Metadata, Slot::Custom, Slot::Values, Slot::End] {
                let id = event_id(1_795_155_873_614, seq, slot);
                assert!(id > last, "{id} {last}");
                last = id;
            }
        }
    }
}
