//! Faults that only a story of several steps comes upon: a run that is paused, lost, answered or
//! taken back a second time.

use super::{Edit, Fault};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "count-an-answered-run-twice",
        edits: &[Edit {
            file: "tables/admission/state.rs",
            text: "pub(super) fn enter_again(&mut self, run: &Arc<R>) {
        «self.queue(run)»;",
            faulty: "{ let _ = self.groups.queue(run); … }",
        }],
        caught_by: &[STORIES],
    },
    Fault {
        name: "roll-back-a-first-attempt-only",
        edits: &[Edit {
            file: "store/tables.rs",
            text: "rollback: true, .. } => «self.drop_checkpoints(|of| of == run)»,",
            faulty: "{
                let stored = self.places.get(&run).and_then(|place| self.runs.get(place));
                if stored.is_some_and(|stored| stored.record.attempt == 1) { … }
            }",
        }],
        caught_by: &[STORIES],
    },
    Fault {
        name: "lose-the-lane-of-a-second-pause",
        edits: &[Edit {
            file: "engine/left_paused.rs",
            text: "gate.lane = «record.accepted.lane.as_ref().map(enqueued)»;",
            faulty: "….filter(|_| record.attempt == 1)",
        }],
        caught_by: &[STORIES],
    },
    Fault {
        name: "go-on-after-a-stop-of-a-second-attempt",
        edits: &[Edit {
            file: "engine/left_behind.rs",
            text: "if «lost::stop_of(&record).is_some()»",
            faulty: "… && record.attempt == 1",
        }],
        caught_by: &[STORIES],
    },
    Fault {
        name: "ask-again-what-a-client-has-asked",
        edits: &[Edit {
            file: "step/pause.rs",
            text: "self.clear(flags::PAUSE_ASKED)",
            faulty: "",
        }],
        caught_by: &["pausing::t5_a_client_pauses_a_run_at_its_next_checkpoint", STORIES],
    },
    Fault {
        name: "store-no-later-rollback",
        edits: &[Edit {
            file: "step/cancel.rs",
            text: "(Some(Answer::Scheduled { .. }), None) if «rolls_back» =>",
            faulty: "false",
        }],
        caught_by: &["saving::i36_a_rollback_is_stored_with_the_stop", STORIES],
    },
];

const STORIES: &str = concat!(
    "model::stored::stories::",
    "i24_i34_i36_random_stories_of_lanes_pauses_and_crashes_on_a_store_in_memory"
);
