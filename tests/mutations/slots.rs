//! Faults of limits of all nodes, and of what nodes decide for each other at an end.

use super::{Edit, Fault};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "run-more-than-there-are-slots",
        edits: &[Edit {
            file: "cluster/slots.rs",
            text: "max: «self.may_keep\
                   .map_or(self.held, |max| max.max(self.floor).min(self.held))»,",
            faulty: "self.held + 1",
        }],
        caught_by: &["nodes_quotas::\
             no_more_runs_execute_on_all_nodes_than_a_limit_lets_and_all_have_their_turn"],
    },
    Fault {
        name: "keep-slots-that-others-wait-for",
        edits: &[Edit {
            file: "cluster/slots.rs",
            text: "let give = if «may_give && !self.is_unsure» {",
            faulty: "false",
        }],
        caught_by: &["nodes_quotas::what_a_node_keeps_for_a_moment_another_one_has_at_once"],
    },
    Fault {
        name: "give-slots-of-runs-that-are-to-be-decided",
        edits: &[Edit {
            file: "control/slots.rs",
            text: "let may_give = «!(is_deciding || is_unrecovered && self.has_inherited)»;",
            faulty: "true",
        }],
        caught_by: &[
            "nodes_quotas::a_node_that_starts_again_has_its_slots_until_its_runs_are_decided",
        ],
    },
    Fault {
        name: "keep-slots-of-nodes-that-are-gone",
        edits: &[Edit {
            file: "control/slots.rs",
            text: "if «is_read && self.rests.exchange.is_none()» {",
            faulty: "false",
        }],
        caught_by: &[
            "nodes_quotas::slots_that_no_run_needs_any_more_come_back_from_whoever_takes_over",
        ],
    },
    Fault {
        name: "say-nothing-of-another-maximum",
        edits: &[Edit {
            file: "control/slots.rs",
            text: "} else if «limit.said.replace(*max) != Some(*max)» {",
            faulty: "false",
        }],
        caught_by: &["nodes_quotas::a_node_warns_once_of_a_maximum_that_is_not_its_own"],
    },
    Fault {
        name: "hear-of-no-other-maximum",
        edits: &[Edit {
            file: "control/slots.rs",
            text: "limit.stands = «*max»;",
            faulty: "limit.max",
        }],
        caught_by: &[
            "nodes_quotas::of_different_maxima_that_of_the_node_that_joined_last_is_right",
        ],
    },
    Fault {
        name: "wait-for-another-node-although-the-queue-is-full",
        edits: &[Edit {
            file: "node/records.rs",
            text: "let is_full = «gate.full.get().is_some()»;",
            faulty: "false",
        }],
        caught_by: &["nodes_lanes::\
             a_run_that_would_wait_for_another_node_is_refused_if_its_queue_is_full"],
    },
    Fault {
        name: "leave-before-what-was-decided-is-answered",
        edits: &[Edit {
            file: "control/membership.rs",
            text: "|| «!self.answers.is_empty()»",
            faulty: "false",
        }],
        caught_by: &["nodes_ending::what_a_node_has_decided_is_answered_before_it_leaves"],
    },
    Fault {
        name: "leave-although-an-answer-is-to-be-given-again",
        edits: &[Edit {
            file: "control/membership.rs",
            text: "let answers_at = «self.answers_at(now)»;",
            faulty: "None",
        }],
        caught_by: &["nodes_ending::\
             what_a_node_has_decided_and_could_not_answer_it_answers_again_before_it_leaves"],
    },
    Fault {
        name: "say-that-a-run-has-quiesced-which-a-lost-node-may-execute",
        edits: &[Edit {
            file: "step/step.rs",
            text: "if «state.is_in_doubt()» {",
            faulty: "false",
        }],
        caught_by: &["nodes_forgotten::\
             i4_a_run_that_has_left_something_on_two_nodes_quiesces_when_neither_has_anything"],
    },
    Fault {
        name: "take-back-what-a-lost-node-may-execute",
        edits: &[Edit {
            file: "step/end.rs",
            text: "!non_quiescent && «!state.is_in_doubt()»",
            faulty: "true",
        }],
        caught_by: &["nodes_forgotten::\
             i36_what_goes_on_elsewhere_and_is_rolled_back_stays_while_a_lost_node_may_execute_it"],
    },
    Fault {
        name: "forget-a-rollback-that-is-asked-for-later",
        edits: &[Edit {
            file: "tables/reservations.rs",
            text: "«first.merge(request);»",
            faulty: "let _ = first;",
        }],
        caught_by: &["scopes::i7_a_rollback_that_is_remembered_behind_another_stop_counts"],
    },
];
