//! Faults of several engines on one store.

use super::{Edit, Fault};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "answer-a-stop-before-it-is-stored",
        edits: &[Edit {
            file: "control/membership.rs",
            text: "Wait::until(node, |state: &State| node.stored(state)).await?;",
            faulty: "let _ = (node, |_: &State| ());",
        }],
        caught_by: &["nodes::i34_an_answer_of_the_owner_is_given_when_the_stop_is_stored"],
    },
    Fault {
        name: "go-on-without-a-lease",
        edits: &[Edit {
            file: "control/turns.rs",
            text: "self.stop_all(shared, request);\n            shared.finish_closing();",
            faulty: "let _ = request;",
        }],
        caught_by: &[
            "nodes::a_node_that_cannot_renew_stops_all_of_its_runs_before_others_may_have_them",
        ],
    },
    Fault {
        name: "store-what-a-lost-lease-ends",
        edits: &[Edit {
            file: "node/shared.rs",
            text: "journal.revoke(member.error());",
            faulty: "let _ = (journal, member.error());",
        }],
        caught_by: &[
            "nodes::a_node_that_cannot_renew_stops_all_of_its_runs_before_others_may_have_them",
        ],
    },
    Fault {
        name: "number-events-of-a-run-that-is-lost",
        edits: &[
            Edit {
                file: "node/implied.rs",
                text: "if «self.is_left()» {\n                return;",
                faulty: "false",
            },
            Edit { file: "node/write.rs", text: "if «!self.is_left()» {", faulty: "true" },
        ],
        caught_by: &["nodes::events_of_a_run_whose_lease_is_lost_are_numbered_by_its_next_owner"],
    },
    Fault {
        name: "take-over-with-the-boot-of-before",
        edits: &[Edit {
            file: "engine/nodes.rs",
            text: "journal.raise_boot(taken.boot);",
            faulty: "let _ = (journal, taken.boot);",
        }],
        caught_by: &[
            "nodes::a_run_that_goes_on_elsewhere_names_the_node_that_may_still_execute_it",
        ],
    },
    Fault {
        name: "trust-that-a-lost-node-executes-nothing",
        edits: &[Edit {
            file: "store/memory.rs",
            text: "doubt.filter(|_| «may_execute»)",
            faulty: "false",
        }],
        caught_by: &["nodes::what_a_lost_node_may_still_execute_is_not_called_quiescent"],
    },
    Fault {
        name: "keep-the-lease-at-a-shutdown",
        edits: &[Edit {
            file: "control/membership.rs",
            text: "Box::pin(async move { cluster.leave().await })",
            faulty: "Box::pin(async move {
                let _ = cluster;
                Ok(())
            })",
        }],
        caught_by: &["nodes::a_node_that_shuts_down_gives_its_lease_back_at_once"],
    },
    Fault {
        name: "count-a-lease-from-its-answer",
        edits: &[Edit {
            file: "cluster/lease.rs",
            text: "self.since = self.since.max(sent);",
            faulty: "self.since = crate::sync::now().max(sent);",
        }],
        caught_by: &["nodes::a_renewal_counts_from_when_it_was_sent"],
    },
];
