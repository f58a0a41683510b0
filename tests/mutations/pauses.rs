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
            file: "step/give_back.rs",
            text: "leaving.rest(self, now, publish)",
            faulty: "{
                publish();
                drop(leaving);
                crate::tables::admission::Free::default()
            }",
        }],
        caught_by: &["pausing::t5_a_paused_run_gives_its_slots_back_and_keeps_its_lane"],
    },
    Fault {
        name: "keep-the-place-of-a-run-stopped-before-it-goes-on",
        edits: &[Edit {
            file: "step/step.rs",
            text: "|| «self.flags() & flags::AWAITS_ADMISSION != 0»;",
            faulty: "false",
        }],
        caught_by: &[
            "lanes::t6_who_is_stopped_before_it_goes_on_leaves_its_queue_but_not_its_lane",
        ],
    },
    Fault {
        name: "give-the-lane-of-a-run-stopped-before-it-goes-on",
        edits: &[Edit {
            file: "step/give_back.rs",
            text: "} else if «goes_on» {",
            faulty: "false",
        }],
        caught_by: &[
            "lanes::t6_who_is_stopped_before_it_goes_on_leaves_its_queue_but_not_its_lane",
        ],
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
    Fault {
        name: "start-before-the-answer-is-stored",
        edits: &[Edit { file: "step/pause.rs", text: "self.set(flags::AWAITS_STORE)", faulty: "" }],
        caught_by: &[
            "stored_pauses::i24_an_answer_is_acknowledged_and_its_attempt_starts_when_it_is_stored",
        ],
    },
    Fault {
        name: "take-answers-in-trouble",
        edits: &[Edit {
            file: "step/pause.rs",
            text: "self.shared.journal.as_ref().and_then(|journal| journal.trouble())",
            faulty: "None",
        }],
        caught_by: &["stored_pauses::i24_a_store_in_trouble_hangs_no_pause_and_takes_no_answer"],
    },
    Fault {
        name: "lose-the-worker-of-a-pause",
        edits: &[Edit {
            file: "engine/left_paused.rs",
            text: "record.status == RunStatus::Paused",
            faulty: "false",
        }],
        caught_by: &["paused_before::t13_a_paused_run_of_which_nothing_is_known_stays_paused"],
    },
    Fault {
        name: "lose-the-answer",
        edits: &[Edit {
            file: "engine/left_paused.rs",
            text: "answer: «record.answer.clone()»,",
            faulty: "None",
        }],
        caught_by: &["paused_before::i34_an_answer_that_was_acknowledged_is_never_asked_for_again"],
    },
    Fault {
        name: "lose-the-lane-of-a-pause",
        edits: &[Edit {
            file: "step/restore.rs",
            text: "if let Some(holder) = «self.admission.enter_paused(&node)» {",
            faulty: "None",
        }],
        caught_by: &[
            "paused_before::i36_a_paused_run_of_a_former_process_keeps_its_lane_and_counts_as_live",
        ],
    },
    Fault {
        name: "stand-still-in-a-process-only",
        edits: &[Edit {
            file: "engine/left_paused.rs",
            text: "restored.stood += since(at, pause.at)",
            faulty: "",
        }],
        caught_by: &["paused_before::t7_a_timeout_that_stands_in_pauses_stands_between_processes"],
    },
    Fault {
        name: "end-pauses-at-a-shutdown",
        edits: &[Edit {
            file: "step/cancel.rs",
            text: "self.leave_to_next(&state)",
            faulty: "false",
        }],
        caught_by: &["paused_before::i38_a_shutdown_leaves_a_paused_run_paused_in_the_store"],
    },
    Fault {
        name: "hide-a-run-whose-answer-is-not-stored",
        edits: &[Edit {
            file: "stored.rs",
            text: "let awaits = «flags::AWAITS_STORE | flags::REFUSED | flags::ACCEPTANCE_STORED»;",
            faulty: "flags::AWAITS_STORE | flags::REFUSED",
        }],
        caught_by: &[
            "stored_pauses::a_run_whose_answer_is_not_stored_yet_is_found_and_stopped_all_the_same",
        ],
    },
    Fault {
        name: "let-an-answer-overtake",
        edits: &[Edit {
            file: "tables/admission/state.rs",
            text: "let rank = Rank::of(&**run, «self.next_number()»);",
            faulty: "0",
        }],
        caught_by: &[
            "admission::t6_an_answered_run_waits_for_a_slot_behind_those_that_wait_already",
        ],
    },
];
