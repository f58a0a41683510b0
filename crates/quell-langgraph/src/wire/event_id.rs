//! [`event_id`]: the ids of the events of a resumable stream.

use std::time::UNIX_EPOCH;

use quell::RunEvent;

/// Makes an event id: `<13-digit ms>-<6-digit sequence>`, strictly rising per run, also as text.
///
/// The sequence counts frames; each time it is through, the instant is one millisecond later.
pub(crate) fn event_id(ms: u64, seq: u64, index: u64) -> String {
    let number = seq.saturating_mul(FRAMES_PER_EVENT).saturating_add(index);
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
    number.parse::<u64>().ok().map(|number| number / FRAMES_PER_EVENT)
}

/// Frames of one event, at most.
const FRAMES_PER_EVENT: u64 = 16;

const SEQUENCE_MAX: u64 = 1_000_000;

/// Events until the sequence is through.
pub(crate) const SEQS: u64 = SEQUENCE_MAX / FRAMES_PER_EVENT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_rise_as_text_also_when_the_sequence_is_through() {
        assert_eq!(event_id(1_795_155_873_614, 2, 10), "1795155873614-000042");
        assert_eq!(seq_of("1795155873614-000042"), Some(2));
        let mut last = String::new();
        for seq in (0..400).chain(62_400..62_600).chain(124_990..125_010) {
            for index in 0..FRAMES_PER_EVENT {
                let id = event_id(1_795_155_873_614, seq, index);
                assert!(id > last, "{id} {last}");
                last = id;
            }
        }
    }
}
