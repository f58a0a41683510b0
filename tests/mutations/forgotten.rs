//! Faults of what becomes of nodes that are gone for good.

use super::{Edit, Fault};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "forget-a-live-node",
        edits: &[Edit {
            file: "testing/cluster/forgotten.rs",
            text: "if «is_live» {",
            faulty: "false",
        }],
        caught_by: &["nodes_forgotten::\
             a_node_that_is_forgotten_before_it_is_taken_over_from_is_in_doubt_for_a_moment_alone"],
    },
    Fault {
        name: "forget-who-joins-under-the-name-later",
        edits: &[Edit {
            file: "testing/cluster/forgotten.rs",
            text: "|last| «left.boot <= *last»",
            faulty: "… || true",
        }],
        caught_by: &["nodes_forgotten::who_joins_under_the_name_later_is_another_one"],
    },
    Fault {
        name: "hear-of-no-forgotten-node",
        edits: &[Edit {
            file: "testing/cluster/forgotten.rs",
            text: "self.0.news.notify_waiters();",
            faulty: "{}",
        }],
        caught_by: &["nodes_forgotten::\
             i4_runs_of_a_node_that_is_forgotten_quiesce_with_the_next_numbers_of_their_log"],
    },
    Fault {
        name: "doubt-a-node-that-is-back",
        edits: &[Edit {
            file: "testing/cluster/nodes.rs",
            text: "Work::Node, «true»)",
            faulty: "false",
        }],
        caught_by: &[
            "nodes_forgotten::i4_runs_elsewhere_of_a_node_that_comes_back_under_its_name_\
             quiesce_but_for_its_programs",
        ],
    },
    Fault {
        name: "take-programs-of-a-node-that-is-back-for-ended",
        edits: &[Edit {
            file: "testing/cluster/forgotten.rs",
            text: "left.boot < boot && «left.what == what»",
            faulty: "… || left.what == Work::Process",
        }],
        caught_by: &[
            "nodes_forgotten::i4_runs_elsewhere_of_a_node_that_comes_back_under_its_name_\
             quiesce_but_for_its_programs",
            "nodes_returned::i4_a_run_elsewhere_quiesces_when_its_node_is_back_\
             and_says_that_its_programs_have_ended",
        ],
    },
    Fault {
        name: "believe-a-later-process-of-programs-in-doubt",
        edits: &[Edit {
            file: "testing/cluster/forgotten.rs",
            text: "|left| «left.has_ended.is_none()»",
            faulty: "… || true",
        }],
        caught_by: &["nodes_returned::\
             a_program_that_is_in_doubt_when_its_node_is_back_stays_so_until_somebody_knows"],
    },
    Fault {
        name: "release-what-another-lost-node-may-execute",
        edits: &[Edit {
            file: "engine/forgotten.rs",
            text: "|| «is_open(record)»",
            faulty: "false",
        }],
        caught_by: &["nodes_forgotten::\
             a_node_that_was_lost_twice_with_a_run_is_named_once_and_is_forgotten_both_times"],
    },
    Fault {
        name: "keep-what-was-rolled-back-by-a-forgotten-node",
        edits: &[Edit {
            file: "engine/forgotten.rs",
            text: "&& «record.is_rolled_back()»",
            faulty: "false",
        }],
        caught_by: &["nodes_forgotten::\
             i36_what_was_rolled_back_leaves_when_the_node_is_forgotten_that_may_execute_it"],
    },
    Fault {
        name: "let-a-report-in-memory-name-a-forgotten-node",
        edits: &[Edit {
            file: "node/forgotten.rs",
            text: "lost.remove(place);",
            faulty: "let _ = place;",
        }],
        caught_by: &[
            "nodes_forgotten::\
             a_run_that_goes_on_elsewhere_and_ends_later_is_quiescent_at_its_end",
            "nodes_forgotten::a_run_that_has_ended_elsewhere_quiesces_in_memory_and_in_the_store",
        ],
    },
];
