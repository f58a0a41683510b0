//! Faults of work that does not end with its process.

use super::{Edit, Fault};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "begin-work-before-it-is-stored",
        edits: &[Edit {
            file: "body/hold.rs",
            text: "node.stored(state).map(|_| Ok(()))",
            faulty: "Some(Ok(()))",
        }],
        caught_by: &[
            "outliving::work_begins_when_the_store_has_it_and_is_there_no_longer_than_it_goes_on",
        ],
    },
    Fault {
        name: "begin-work-after-a-stop",
        edits: &[Edit {
            file: "body/hold.rs",
            text: "cause_to_give_way().filter(|_| «!is_shielded»)",
            faulty: "false",
        }],
        caught_by: &[
            "outliving::i8_work_does_not_begin_when_a_stop_comes_while_the_store_is_waited_for",
        ],
    },
    Fault {
        name: "call-what-was-lost-quiescent",
        edits: &[Edit {
            file: "engine/lost.rs",
            text: "row.quiescent = «row.abandoned.is_empty()»;",
            faulty: "true",
        }],
        caught_by: &[
            "outliving::t13_what_may_still_execute_of_a_run_whose_process_is_gone_is_named",
        ],
    },
    Fault {
        name: "call-those-above-what-was-lost-quiescent",
        edits: &[Edit {
            file: "engine/doubt.rs",
            text: "row.parent.filter(|_| «!row.quiescent»)",
            faulty: "false",
        }],
        caught_by: &[
            "outliving::t13_what_may_still_execute_of_a_run_whose_process_is_gone_is_named",
        ],
    },
    Fault {
        name: "overlook-what-runs-below-had-left-before",
        edits: &[Edit {
            file: "engine/left_rows.rs",
            text: "(«!holds.is_empty()»).then_some(run)",
            faulty: "false",
        }],
        caught_by: &[
            "outliving::t13_a_run_below_that_had_ended_before_keeps_its_root_from_being_quiescent",
        ],
    },
    Fault {
        name: "forget-what-an-earlier-attempt-has-left",
        edits: &[Edit {
            file: "node/report.rs",
            text: "if «!extra.lost.is_empty()» {",
            faulty: "false",
        }],
        caught_by: &[
            "outliving::i19_a_run_that_goes_on_names_at_its_end_what_the_attempt_before_has_left",
        ],
    },
    Fault {
        name: "forget-what-was-emitted-before",
        edits: &[Edit {
            file: "engine/left_behind.rs",
            text: "self.earlier.emitted = «emitted»;",
            faulty: "Vec::new()",
        }],
        caught_by: &[
            "emitted::i17_what_was_emitted_before_a_restart_comes_before_what_is_emitted_after_it",
        ],
    },
];
