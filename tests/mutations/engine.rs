//! Faults of the engine: who may start, what is kept, what is due, and code of users.

use super::{Edit, FOREIGN, Fault};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "forget-child",
        edits: &[Edit {
            file: "step/submit.rs",
            text: "above.children.link(Arc::clone(&node))",
            faulty: "above.life.on(Input::ChildLeft, now); …",
        }],
        caught_by: &["tree::i1_a_parent_that_is_through_waits_for_every_attached_child"],
    },
    Fault {
        name: "skip-fence",
        edits: &[
            Edit {
                file: "step/submit.rs",
                text: "above.life.is_fenced(shielded)",
                faulty: "false",
            },
            Edit { file: "step/submit.rs", text: "!added.refused", faulty: "true" },
        ],
        caught_by: &[
            "fence::i8_after_a_stop_nothing_of_the_run_starts_and_the_refusal_says_why",
            "execution::i20_a_retry_never_outlives_a_stop",
        ],
    },
    Fault {
        name: "admit-after-shutdown",
        edits: &[Edit {
            file: "step/submit.rs",
            text: "self.closed.load(Ordering::SeqCst)",
            faulty: "false",
        }],
        caught_by: &["shutdown::i38_shutdown_closes_admission_and_stops_what_is_live"],
    },
    Fault {
        name: "remember-everything",
        edits: &[Edit {
            file: "tables/registry.rs",
            text: "request.remembered_for()",
            faulty: "std::time::Duration::from_mins(1)",
        }],
        caught_by: &["edges::i22_cancelling_an_unknown_id_changes_nothing_later"],
    },
    Fault {
        name: "keep-everything",
        edits: &[Edit {
            file: "tables/registry.rs",
            text: "self.runs.remove_if(&id, |_, entry| is_it(entry))",
            faulty: "None",
        }],
        caught_by: &["retention::i39_ten_thousand_ended_trees_are_kept_and_the_oldest_leave_first"],
    },
    Fault {
        name: "fire-late",
        edits: &[Edit {
            file: "control/turns.rs",
            text: "queue.timers.take_due(now)",
            faulty: "let earlier = now.get().saturating_sub(10_000_000_000);
            queue.timers.take_due(crate::time::clock::Ticks::from_raw(earlier))",
        }],
        caught_by: &[
            "blocked::i14_deadlines_cancels_and_reads_work_while_every_body_worker_is_blocked",
        ],
    },
    Fault {
        name: "let-panics-through",
        edits: &[Edit {
            file: "foreign/calls.rs",
            text: "catch_unwind(AssertUnwindSafe(code)).map_err(failure_of)",
            faulty: "Ok(code())",
        }],
        caught_by: &[
            "isolation::i26_a_panic_anywhere_in_a_body_is_that_runs_failure_and_nothing_elses",
        ],
    },
    Fault {
        name: "act-on-the-control-thread",
        edits: &[Edit {
            file: "foreign/calls.rs",
            text: "couriers.send(Box::new(code))",
            faulty: "let _ = catch_panic(code);",
        }],
        caught_by: &[FOREIGN],
    },
    Fault {
        name: "name-no-decider",
        edits: &[Edit { file: "join.rs", text: "request.kind(kind)", faulty: "request" }],
        caught_by: &["execution::i28_a_failing_sibling_is_named_as_the_decider"],
    },
];
