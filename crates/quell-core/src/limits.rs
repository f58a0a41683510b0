//! Every bound of the engine, its unit in its name. Each has a stated behaviour when reached.

use std::borrow::Cow;
use std::time::Duration;

/// Grace of a stop that names none: long enough to flush and hang up, short enough to wait for.
pub const GRACE: Duration = Duration::from_secs(5);

/// Time between abort and abandon: a body that awaits at all is dropped long before.
pub const ABORT_WAIT: Duration = Duration::from_secs(1);

/// When an `after_step` request that names no time of its own becomes `cooperative`.
pub const ESCALATE_AFTER: Duration = Duration::from_secs(30);

/// Events held per root, grown as needed. The oldest leave first; a reader behind them is told
/// `Lagged`. Readers have no queue of their own, so that this bounds all of them together.
pub const EVENTS_PER_ROOT_MAX: usize = 4_096;

/// Bytes of the events held per root: their values, names and words, and a little for each event.
/// The oldest leave first; a reader behind them is told `Lagged`.
pub const EVENTS_PER_ROOT_BYTES_MAX: usize = 4 << 20;

/// Bytes of the events that are held for readers of the whole engine. The oldest leave first.
pub const SUBSCRIBER_BACKLOG_BYTES_MAX: usize = 16 << 20;

/// Bytes that live runs hold: their inputs, labels, annotations, names and outputs, and their logs.
/// A submit that would exceed it is refused, and so is an output; a log gives up its oldest events
/// earlier.
pub const LIVE_BYTES_MAX: usize = 1 << 30;

/// What one owner may hold of every bound in number or bytes that owners share, in percent.
pub const OWNER_SHARE_PERCENT: u8 = 25;

/// Events that a reader of the whole engine may be behind before it is told `Lagged`.
pub const SUBSCRIBER_BACKLOG_MAX: usize = 1_024;

/// Rows in a report. Runs that did not complete come first, the rest is counted.
pub const REPORT_ROWS_MAX: usize = 10_000;

/// Depth of a tree, the root being at 1. A deeper spawn is refused.
pub const DEPTH_MAX: u32 = 10_000;

/// Live children of one run. One more is refused.
pub const CHILDREN_MAX: u32 = 1_000_000;

/// Live runs of one engine. One more is refused.
pub const RUNS_MAX: usize = 4_000_000;

/// Ended trees kept in memory. The oldest leave first.
pub const ENDED_TREES_MAX: usize = 10_000;

/// Bytes of the ended trees kept in memory, about: payloads, texts and events, and a little for
/// each run. The oldest leave first.
pub const ENDED_BYTES_MAX: usize = 256 << 20;

/// How long an ended tree is kept in memory.
pub const ENDED_TREES_TTL: Duration = Duration::from_hours(1);

/// Stops remembered for ids that are not known yet. The oldest leave first.
pub const RESERVATIONS_MAX: usize = 65_536;

/// The longest time that a stop is remembered for an id that is not known yet.
pub const RESERVATIONS_TTL: Duration = Duration::from_hours(24);

/// Bytes of the stops that are remembered: their reasons and actors. The oldest leave first.
pub const RESERVATIONS_BYTES_MAX: usize = 64 << 20;

/// Scopes of remembered stops that one run belongs to. One more is refused.
pub const STOP_SCOPES_MAX: usize = 8;

/// Runs of a lane that one run may take the place of. If the lane has more, the submit is refused.
pub const SUPERSEDED_MAX: usize = 4_096;

/// Idempotency keys kept of runs that were forgotten. The oldest leave first. The key of a run that
/// is live or kept does not count: it stays as long as its run.
pub const KEYS_MAX: usize = 65_536;

/// How long an idempotency key is kept after its run was forgotten.
pub const KEYS_TTL: Duration = Duration::from_hours(24);

/// An idempotency key, and the key of an annotation. A longer one is refused.
pub const KEY_BYTES_MAX: usize = 256;

/// Runs that are counted before a run that waits in a queue. It stands for as many or more.
pub const QUEUE_AHEAD_MAX: usize = 1_000;

/// An input or an output. A larger one is refused.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// One emitted event. A larger one is refused, and a `Refused` event says so.
pub const EVENT_BYTES_MAX: usize = 256 << 10;

/// Nesting of the JSON that a program or a service says. What stands around it in reports and lists
/// is then within the [`JSON_LEVELS_MAX`](crate::JSON_LEVELS_MAX) that `serde_json` reads.
pub const OUTPUT_LEVELS_MAX: usize = 100;

/// The key or the value of a label, and the name of a run. A longer one is refused; the name of a
/// hold is cut at a character and marked with `…`.
pub const LABEL_BYTES_MAX: usize = 1 << 10;

/// The id of a tool call, and the name of the tool. A longer one fails the call.
pub const TOOL_NAME_BYTES_MAX: usize = 1 << 10;

/// Labels of one run. One more is refused.
pub const LABELS_MAX: usize = 32;

/// Annotations of one run. One more is refused.
pub const ANNOTATIONS_MAX: usize = 16;

/// The values of all annotations of a run together: four times what an input has at most. More are
/// refused.
pub const ANNOTATIONS_BYTES_MAX: usize = 64 << 20;

/// The owner of a run. A longer one is refused.
pub const OWNER_BYTES_MAX: usize = 256;

/// The key of a lane. A longer one is refused.
pub const LANE_BYTES_MAX: usize = 256;

/// Hooks of one run. One more never runs: it is reported as skipped.
pub const HOOKS_MAX: usize = 1_024;

/// The reason and the actor of a request to cancel, each. A longer one is cut at a character and
/// marked with `…`: a stop is never refused for its reason.
pub const REASON_BYTES_MAX: usize = 4 << 10;

/// The words of a failure: those of an error and its sources, of a panic, or of a body. Longer ones
/// are cut at a character and marked with `…`.
pub const FAILURE_BYTES_MAX: usize = 16 << 10;

/// Errors of cleanup kept per run. The first ones are kept, the others are not.
pub const CLEANUP_ERRORS_MAX: usize = 16;

/// Runs, events or checkpoints that one read of a store yields. More counts as that.
pub const STORE_PAGE_MAX: usize = 1_000;

/// Bytes of what one read of a store yields. What does not fit comes with the next read; one thing
/// that is larger comes alone.
pub const STORE_PAGE_BYTES_MAX: usize = 16 << 20;

/// One record of a store, as it is written. A larger one is refused.
pub const STORE_RECORD_BYTES_MAX: usize = 256 << 20;

/// Bytes of events that wait for a store, and of states. Of events that come then, a gap is stored;
/// a state is refused.
pub const STORE_BACKLOG_BYTES_MAX: usize = 64 << 20;

/// Entries besides events that wait for a store in trouble. Beyond that, runs spawn no children.
pub const STORE_BACKLOG_MAX: usize = 100_000;

/// Work of one run that a store keeps at once because it does not end with the process. The last
/// one stands for all that are too many.
pub const STORE_HOLDS_MAX: usize = 64;

/// Attempts that a run may lose with their processes, one after another, and go on by itself: since
/// it was accepted, or was paused last. One that loses one more ends `Failed`.
pub const LOST_ATTEMPTS_MAX: u32 = 5;

/// How long a node that was asked for a stop of a run on another one waits for the answer.
pub const ASKED_STOP_WAIT: Duration = Duration::from_secs(1);

/// Stops asked for by other nodes that one is answering at once. The others wait in their order.
pub const ASKED_STOPS_MAX: usize = 1_000;

/// Stops that may wait for one node because others have asked for them. Of one run they may be
/// [`ASKED_STOPS_MAX`]: who asks for nothing else again and again leaves room for the others.
pub const ASKED_STOPS_WAITING_MAX: usize = 10_000;

/// Of these, those of the trees of one owner: a quarter. Trees without an owner have no share.
pub const ASKED_STOPS_OF_OWNER_MAX: usize = 2_500;

/// How long the owner of a run is waited for that has taken something else than a stop, and does
/// not say what came of it.
pub const ASKED_ACT_WAIT: Duration = Duration::from_secs(5);

/// Acts that a member reads at once, and those that may wait for one member.
pub const ASKED_ACTS_MAX: usize = 100;

/// Bytes of the acts that may wait for one member, about: the last one may go beyond.
pub const ASKED_ACTS_BYTES_MAX: usize = 32 << 20;

/// How long a store may take for one append before it counts as in trouble.
pub const STORE_ANSWER_WAIT: Duration = Duration::from_secs(30);

/// How long the end of an engine waits for a store that is in trouble. What is not stored then is
/// counted.
pub const STORE_WAIT: Duration = Duration::from_secs(5);

/// Yields what one owner may have of a bound, in percent of it; at least one, unless the bound is
/// zero. Zero percent count as 1, more than 100 as 100.
///
/// # Examples
///
/// ```
/// use quell_core::limits::share_of;
///
/// assert_eq!(share_of(1_000, 25), 250);
/// assert_eq!((share_of(2, 25), share_of(0, 25)), (1, 0));
/// assert_eq!(share_of(usize::MAX, 200), usize::MAX);
/// ```
pub fn share_of(max: usize, percent: u8) -> usize {
    let percent = usize::from(percent.clamp(1, 100));
    // The remainder apart: the product must not overflow.
    let share = max / 100 * percent + max % 100 * percent / 100;
    share.max(max.min(1))
}

/// Cuts a text that is longer than so many bytes, at a character, and marks it with `…`. A bound
/// below the three bytes of the mark leaves nothing.
///
/// # Examples
///
/// ```
/// use quell_core::limits::cut;
///
/// assert_eq!(cut("as it is", 8), "as it is");
/// assert_eq!(cut("somewhat longer", 8), "somew…");
/// assert_eq!(cut("none", 2), "");
/// ```
pub fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let Some(rest) = bytes_max.checked_sub('…'.len_utf8()) else { return Cow::Borrowed("") };
    Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(rest)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_at_least_one_of_what_there_is() {
        assert_eq!((share_of(1_000, 0), share_of(1_000, 1)), (10, 10));
        assert_eq!((share_of(1_000, 100), share_of(1_000, 101)), (1_000, 1_000));
        assert_eq!((share_of(1, 1), share_of(0, 100)), (1, 0));
        assert_eq!(share_of(usize::MAX, 100), usize::MAX);
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_never_longer_than_its_bound() {
        for bytes_max in 0..12 {
            let short = cut("äöü", bytes_max);
            assert!(short.len() <= bytes_max, "{bytes_max}: {short}");
            let expected = match bytes_max {
                0..=2 => "",
                3 | 4 => "…",
                5 => "ä…",
                _ => "äöü",
            };
            assert_eq!(short, expected, "{bytes_max}");
        }
    }
}
