//! Faults of several engines on one store.

use super::{Edit, Fault};

pub(super) const FAULTS: &[Fault] = &[
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
    Fault {
        name: "carry-out-what-was-withdrawn",
        edits: &[Edit {
            file: "control/acts.rs",
            text: "if «!cluster.take(nr).await?» {",
            faulty: "false",
        }],
        caught_by: &["nodes_acts::what_a_silent_node_has_not_taken_in_time_is_never_carried_out"],
    },
    Fault {
        name: "carry-out-again-what-could-not-be-answered",
        edits: &[Edit {
            file: "control/acts.rs",
            text: "matches!(*progress.lock(), Progress::Asked)",
            faulty: "true",
        }],
        caught_by: &["nodes_acts::an_answer_is_given_once_whatever_is_lost_on_the_way"],
    },
];
