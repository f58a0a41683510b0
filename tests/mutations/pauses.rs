//! Faults of pauses: runs that wait for an answer.

use super::{Edit, Fault};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "resume-what-is-not-paused",
        edits: &[Edit {
            file: "step/pause.rs",
            text: "if «!state.life.is_paused()» {",
            faulty: "false",
        }],
        caught_by: &["pausing::i24_only_a_paused_run_is_resumed_and_only_once"],
    },
    Fault {
        name: "keep-slots-in-a-pause",
        edits: &[Edit {
            file: "step/step.rs",
            text: "leaving.rest(self, now, publish)",
            faulty: "{
                publish();
                drop(leaving);
                Free::none()
            }",
        }],
        caught_by: &["pausing::t5_a_paused_run_gives_its_slots_back_and_keeps_its_lane"],
    },
    Fault {
        name: "give-way-after-a-pause",
        edits: &[Edit {
            file: "node/candidate.rs",
            text: "self.flags() & flags::RESUMED != 0",
            faulty: "false",
        }],
        caught_by: &["pausing::t5_a_paused_run_gives_its_slots_back_and_keeps_its_lane"],
    },
    Fault {
        name: "keep-what-makes-bodies",
        edits: &[Edit {
            file: "step/step.rs",
            text: "if «deferred.fx.drops_maker» {",
            faulty: "false",
        }],
        caught_by: &[
            "pausing::i24_a_cancel_of_a_paused_run_ends_it_at_once_without_a_body_or_a_hook_of_it",
        ],
    },
    Fault {
        name: "pass-by-a-pause",
        edits: &[Edit { file: "body/context.rs", text: "node.meet_pause()", faulty: "Ok(())" }],
        caught_by: &["pausing::t5_a_client_pauses_a_run_at_its_next_checkpoint"],
    },
];
