//! Faults of events and their readers.

use super::{Edit, Fault};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "skip-a-number",
        edits: &[Edit {
            file: "log/ring.rs",
            text: "self.next += 1",
            faulty: "self.next += if self.next == 3 { 2 } else { 1 }",
        }],
        caught_by: &["events::i30_the_log_is_dense_from_one_and_the_roots_end_is_its_last_event"],
    },
    Fault {
        name: "keep-the-time-that-was-read",
        edits: &[Edit { file: "log/log.rs", text: "self.last > read", faulty: "false" }],
        caught_by: &["promises::i30_times_in_a_log_never_run_backwards"],
    },
    Fault {
        name: "skip-what-was-missed",
        edits: &[Edit {
            file: "stream/stream.rs",
            text: "return Fetched::Missed { from, to: first - 1 }",
            faulty: "",
        }],
        caught_by: &[
            "events::i29_publishing_waits_for_no_reader_and_slow_ones_are_told_what_they_missed",
        ],
    },
    Fault {
        name: "stop-on-leaving",
        edits: &[Edit {
            file: "stream/stream.rs",
            text: "fn drop(&mut self) {
        «self.leave()»",
            faulty: "if let Source::Tree(Tree { node, .. }) = &self.source {
                node.cancel(&crate::node::by_token());
            }
            …",
        }],
        caught_by: &[
            "events::i31_whoever_leaves_stops_nothing_and_a_disconnect_that_stops_says_so",
        ],
    },
];
