//! Faults of several engines on one store.

use super::{Edit, Fault};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "store-reports-without-causes",
        edits: &[Edit {
            file: "node/records.rs",
            text: "let report = Arc::new(«journal::to_record(report)»);",
            faulty: "{
                let mut report = …;
                for row in &mut report.rows {
                    row.cause = None;
                }
                report
            }",
        }],
        caught_by: &["nodes_truth::i40_each_node_shows_of_a_run_what_the_node_knows_that_has_it"],
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
            file: "control/leaving.rs",
            text: "Box::pin(async move { cluster.leave(is_drained).await })",
            faulty: "Box::pin(async move {
                let _ = (cluster, is_drained);
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
    Fault {
        name: "cancel-what-waits-at-a-shutdown",
        edits: &[Edit {
            file: "step/pause.rs",
            text: "«self.waits_for_any(state)»)",
            faulty: "false",
        }],
        caught_by: &[
            "nodes_drained::i19_what_waits_begins_on_another_node_as_its_first_attempt_while_the_\
             first_one_drains",
        ],
    },
    Fault {
        name: "count-what-was-given-up-as-lost",
        edits: &[Edit {
            file: "engine/recover.rs",
            text: "«!record.is_unstarted»)",
            faulty: "true",
        }],
        caught_by: &[
            "nodes_drained::i19_what_waits_begins_on_another_node_as_its_first_attempt_while_the_\
             first_one_drains",
        ],
    },
    Fault {
        name: "lose-what-could-not-be-given-up",
        edits: &[Edit {
            file: "control/giving_up.rs",
            text: "«self.call = Some(call(member, roots));»\n                    self.again_at",
            faulty: "drop(roots);",
        }],
        caught_by: &["nodes_drained::what_could_not_be_given_up_is_given_up_once_that_succeeds"],
    },
    Fault {
        name: "doubt-what-a-drained-node-has-not-begun",
        edits: &[Edit {
            file: "engine/shutdown.rs",
            text: "is_drained: «unstored == 0»",
            faulty: "false",
        }],
        caught_by: &["nodes_drained::what_a_node_has_taken_over_and_not_decided_is_handed_on"],
    },
    Fault {
        name: "say-that-a-stop-came-late-which-has-ended-its-run",
        edits: &[Edit {
            file: "control/answering.rs",
            text: "«stop.request.to_cause(cause.at, stop.run) == **cause» => accepted()",
            faulty: "false",
        }],
        caught_by: &[
            "nodes_asked::i6_a_stop_that_a_take_over_gives_to_its_run_is_answered_as_accepted",
        ],
    },
    Fault {
        name: "carry-out-again-what-was-carried-out-when-its-run-was-taken-in",
        edits: &[Edit {
            file: "engine/recover.rs",
            text: "«member.placed(nr, run.cancel(request));»",
            faulty: "member.forget_unplaced(nr);
            run.cancel(request);",
        }],
        caught_by: &[
            "nodes_asked::i6_a_stop_that_is_carried_out_when_its_run_is_taken_in_is_accepted",
        ],
    },
    Fault {
        name: "fail-a-refused-run-although-its-stop-is-recorded",
        edits: &[Edit {
            file: "engine/left_behind.rs",
            text: "tree.take_stops(asked);",
            faulty: "let _ = asked;",
        }],
        caught_by: &["nodes_asked::i34_a_stop_of_a_run_that_may_not_go_on_ends_it_with_its_cause"],
    },
    Fault {
        name: "answer-for-a-run-that-is-left-to-others",
        edits: &[Edit {
            file: "control/acts.rs",
            text: "Some(member) if !is_done && «node.is_left_to_next()» =>",
            faulty: "false",
        }],
        caught_by: &["nodes_acts::what_is_asked_of_a_run_that_is_being_left_is_not_decided"],
    },
    Fault {
        name: "overlook-what-is-asked-while-runs-are-read",
        edits: &[Edit {
            file: "engine/recover.rs",
            text: "tree.take_stops(&asked);",
            faulty: "let _ = &asked;",
        }],
        caught_by: &[
            "nodes_asked::i34_a_stop_that_is_recorded_while_its_run_is_being_recovered_ends_it",
        ],
    },
    Fault {
        name: "let-an-owner-have-all-stops-that-may-wait",
        edits: &[Edit {
            file: "testing/cluster/nodes.rs",
            text: "&& «of_owner < limits::ASKED_STOPS_OF_OWNER_MAX»",
            faulty: "(… || true)",
        }],
        caught_by: &["nodes_asked::\
             of_the_stops_that_wait_for_a_node_one_owner_has_a_share_and_one_run_a_part_of_it"],
    },
    Fault {
        name: "pass-no-turn-on-of-what-is-taken-back",
        edits: &[Edit {
            file: "node/stored.rs",
            text: "self.has_left();\n        «self.ask_for_next();»",
            faulty: "{}",
        }],
        caught_by: &["nodes_lanes::the_turn_of_a_run_that_is_taken_back_is_passed_on_at_once"],
    },
    Fault {
        name: "take-a-repeat-for-the-run-that-another-node-stops",
        edits: &[Edit {
            file: "control/membership.rs",
            text: "!node.is_left_to_next() && «!node.is_undecided()» &&",
            faulty: "(… || true)",
        }],
        caught_by: &["nodes_repeats::\
             i34_a_stop_from_elsewhere_that_meets_a_repeat_is_that_of_the_run_that_is_taken_over"],
    },
    Fault {
        name: "acknowledge-the-stop-of-a-repeat",
        edits: &[Edit {
            file: "engine/nodes.rs",
            text: "«run.is_accepted().await».then_some(answer)",
            faulty: "(… || true)",
        }],
        caught_by: &["nodes_repeats::\
             i34_what_is_asked_while_a_repeat_waits_for_the_store_reaches_the_run_of_another_node"],
    },
    Fault {
        name: "stop-a-run-below-a-root-that-has-the-id-of-another",
        edits: &[Edit {
            file: "engine/nodes.rs",
            text: "self.get(id).filter(|run| «!run.node().is_namesake()»)?",
            faulty: "(… || true)",
        }],
        caught_by: &["nodes_same_id::\
             i34_a_stop_of_a_run_elsewhere_is_not_that_of_one_below_a_root_that_has_its_id"],
    },
    Fault {
        name: "leave-out-what-a-run-leaves-that-has-the-id-of-one-before",
        edits: &[Edit {
            file: "engine/in_the_way.rs",
            text: "Some(journal) => «journal.let_go_below(root).await»",
            faulty: "Ok(_ = journal)",
        }],
        caught_by: &["nodes_same_id::\
             i34_a_stop_of_a_run_is_stored_although_one_that_had_its_id_is_held"],
    },
    Fault {
        name: "remember-the-first-stop-again-alone",
        edits: &[Edit {
            file: "testing/cluster/reserved.rs",
            text: "unused.flat_map(|(_, asked)| «asked.reserved»)",
            faulty: "….into_iter().take(1).collect::<Vec<_>>()",
        }],
        caught_by: &["nodes_reserved::\
             i22_all_stops_that_the_append_of_a_refused_run_used_up_are_for_the_next_ones"],
    },
];
