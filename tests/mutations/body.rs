//! Faults of bodies, hooks, tool calls and what they say.

use super::{Edit, FOREIGN, Fault};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "start-anyway",
        edits: &[Edit { file: "body/driver.rs", text: "started.await", faulty: "… || true" }],
        caught_by: &["edges::i21_a_cancel_before_the_start_polls_no_user_code"],
    },
    Fault {
        name: "end-before-destructors",
        edits: &[Edit {
            file: "body/driver.rs",
            text: "guard.call(|| slot.set(None))",
            faulty: "return guard.report(end, None)",
        }],
        caught_by: &["tree::i4_a_quiescent_run_has_no_body_destructor_hook_or_closure_running"],
    },
    Fault {
        name: "poll-before-the-news",
        edits: &[Edit {
            file: "node/last_poll.rs",
            text: "bits & flags::CASCADING == 0 && is_told()",
            faulty: "true",
        }],
        caught_by: &[LAST_POLL],
    },
    Fault {
        name: "forget-hook",
        edits: &[Edit {
            file: "step/hooks.rs",
            text: "Batch::new(«hooks»)",
            faulty: "let mut hooks = …;
            if hooks.len() > 1 {
                hooks.pop();
            }
            hooks",
        }],
        caught_by: &[
            "hooks::i16_hooks_run_once_in_reverse_order_after_the_body_and_before_the_end",
        ],
    },
    Fault {
        name: "end-without-hooks",
        edits: &[Edit {
            file: "step/hooks.rs",
            text: "batch.hooks.iter().rposition(|hook| hook.label.at_end)",
            faulty: "{
                batch.hooks.retain(|hook| !hook.label.at_end);
                None
            }",
        }],
        caught_by: &["everyend::i16_a_hook_of_every_end_runs_however_the_body_ends"],
    },
    Fault {
        name: "start-what-is-over",
        edits: &[Edit {
            file: "step/hooks.rs",
            text: ".filter(|batch| «!batch.is_over»)",
            faulty: "true",
        }],
        caught_by: &[
            "unrun::i12_i16_hooks_that_never_yield_are_followed_by_none_when_the_grace_is_over",
            "unrun::i7_i16_an_abort_while_hooks_run_skips_those_that_wait",
        ],
    },
    Fault {
        name: "forget-the-unneeded",
        edits: &[Edit {
            file: "step/hooks.rs",
            text: "unrun.append(&mut extra.hooks_unneeded)",
            faulty: "extra.hooks_unneeded.clear()",
        }],
        caught_by: &["unrun::i16_a_stop_while_hooks_are_dropped_at_an_end_tells_of_them"],
    },
    Fault {
        name: "hide-the-stop",
        edits: &[Edit {
            file: "body/context.rs",
            text: "fn is_stopping(&self) -> bool {
        «self.node().listen()»",
            faulty: "… && !shield::is_active(self.id())",
        }],
        caught_by: &["time::i13_a_shield_holds_until_the_hard_deadline_and_hides_nothing"],
    },
    Fault {
        name: "forget-stop",
        edits: &[Edit {
            file: "body/context.rs",
            text: "if «node.listen()» {",
            faulty: "… && false",
        }],
        caught_by: &["execution::i15_a_swallowed_stop_is_asserted_again_at_every_checkpoint"],
    },
    Fault {
        name: "drop-under-the-lock",
        edits: &[Edit {
            file: "node/outputs.rs",
            text: "said.place(&mut state).replace(payload)",
            faulty: "drop(said.place(&mut state).take()); …",
        }],
        caught_by: &[FOREIGN],
    },
    Fault {
        name: "cancel-what-goes-on",
        edits: &[Edit {
            file: "body/tool.rs",
            text: "Arc::strong_count(&self.inside) > 1",
            faulty: "false",
        }],
        caught_by: &["tools::i18_a_call_that_a_stop_drops_is_unknown_while_its_hold_is_held"],
    },
];

const LAST_POLL: &str =
    "lastpoll::i17_the_last_poll_of_a_parent_waits_until_the_ends_of_its_children_were_told";
