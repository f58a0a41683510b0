//! Faults of what leaves a store.

use super::{Edit, Fault};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "prune-what-is-in-memory",
        edits: &[Edit {
            file: "engine/prune.rs",
            text: "self.get(tree.root).is_some()",
            faulty: "false",
        }],
        caught_by: &["pruning::t14_what_is_live_paused_or_needed_never_leaves"],
    },
    Fault {
        name: "prune-what-another-node-has-in-memory",
        edits: &[Edit {
            file: "engine/prune.rs",
            text: "|| «self.may_have_elsewhere(&tree, bounds.now)»",
            faulty: "false",
        }],
        caught_by: &["nodes_same_id::\
             what_another_node_may_have_in_memory_does_not_leave_the_store"],
    },
    Fault {
        name: "count-from-the-acceptance",
        edits: &[Edit {
            file: "engine/prune.rs",
            text: "tree.quiesced_at",
            faulty: "tree.accepted_at",
        }],
        caught_by: &["pruning::a_tree_leaves_by_its_age_from_when_it_was_quiescent"],
    },
    Fault {
        name: "keep-all-behind-a-young-tree",
        edits: &[Edit {
            file: "engine/prune.rs",
            text: "!self.is_too_many(place) && «!self.is_large» &&",
            faulty: "true",
        }],
        caught_by: &["pruning::of_too_many_bytes_trees_leave_until_there_are_few_enough"],
    },
    Fault {
        name: "take-what-came-behind-too-many",
        edits: &[Edit {
            file: "engine/prune.rs",
            text: "self.too_many.is_some_and(|last| «place <= last»)",
            faulty: "true",
        }],
        caught_by: &["pruning::nodes_that_prune_at_once_leave_as_many_trees_as_may_stay"],
    },
    Fault {
        name: "take-all-with-one-append",
        edits: &[Edit { file: "engine/prune.rs", text: "self.rows >= ROWS_MAX", faulty: "false" }],
        caught_by: &["pruning::i34_no_stop_waits_for_what_leaves"],
    },
    Fault {
        name: "keep-what-a-dead-process-had-rolled-back",
        edits: &[Edit {
            file: "engine/recover.rs",
            text: "prune::forget(store, doubt::over(store, rolled_back).await?).await?",
            faulty: "()",
        }],
        caught_by: &["saving::i36_what_a_dead_process_had_rolled_back_is_forgotten_by_the_next"],
    },
    Fault {
        name: "offer-what-is-not-quiescent-as-quiescent",
        edits: &[Edit {
            file: "store/tables.rs",
            text: "tree.quiescent = «record.quiescent»;",
            faulty: "true",
        }],
        caught_by: &["store::the_store_in_memory_keeps_every_promise_of_a_store"],
    },
];
