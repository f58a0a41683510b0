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
        name: "free-slots-at-the-end",
        edits: &[Edit {
            file: "step/give_back.rs",
            text: "let slots = «state.life.is_quiescent()»;",
            faulty: "true",
        }],
        caught_by: &["limits::i27_slots_return_when_the_run_is_quiescent_in_every_scope"],
    },
    Fault {
        name: "let-a-refused-run-keep-its-place",
        edits: &[Edit {
            file: "node/candidate.rs",
            text: "bits & «(flags::DROP | flags::REFUSED)» != 0",
            faulty: "flags::DROP",
        }],
        caught_by: &[
            "refused_waiting::a_store_in_trouble_is_told_although_the_run_would_wait",
            "refused_waiting::\
             an_id_and_a_key_that_another_node_has_are_told_although_the_run_would_wait",
        ],
    },
    Fault {
        name: "forget-who-waits-for-a-group",
        edits: &[Edit {
            file: "tables/admission/groups.rs",
            text: "self.touch_owner(owner);
        }
        «self.refresh_chain(first);»",
            faulty: "if self.arena[first].is_full() { … }",
        }],
        caught_by: &["limits::i21_a_run_starts_when_each_of_its_limits_has_room_and_not_before"],
    },
    Fault {
        name: "forget-who-waits-for-an-owner",
        edits: &[Edit {
            file: "tables/admission/groups.rs",
            text: "self.is_full(owner) != was_full",
            faulty: "self.is_full(owner)",
        }],
        caught_by: &[
            "limits::i27_slots_return_when_the_run_is_quiescent_in_every_scope",
            "limits::i21_a_run_starts_when_each_of_its_limits_has_room_and_not_before",
        ],
    },
    Fault {
        name: "start-before-it-is-stored",
        edits: &[Edit {
            file: "node/candidate.rs",
            text: "let held_back = «flags::AWAITS_ADMISSION | flags::AWAITS_STORE | flags::HELD»;",
            faulty: "flags::AWAITS_ADMISSION",
        }],
        caught_by: &["journal::a_root_starts_when_its_acceptance_is_stored"],
    },
    Fault {
        name: "acknowledge-before-it-is-stored",
        edits: &[Edit {
            file: "node/stored.rs",
            text: "if «left.load(Ordering::Relaxed) == 0» {",
            faulty: "true",
        }],
        caught_by: &["journal::i34_a_stop_signals_at_once_and_is_acknowledged_when_it_is_stored"],
    },
    Fault {
        name: "leave-memory-before-the-end-is-stored",
        edits: &[Edit {
            file: "step/step.rs",
            text: "if «shared.journal.is_none()» {",
            faulty: "true",
        }],
        caught_by: &[
            "journal::a_tree_leaves_memory_when_its_end_is_stored_and_forgetting_is_stored",
        ],
    },
    Fault {
        name: "a-stop-waits-its-turn",
        edits: &[Edit {
            file: "node/stored.rs",
            text: "if «bits & flags::ACCEPTANCE_STORED == 0» {",
            faulty: "true",
        }],
        caught_by: &["journal::a_stop_overtakes_what_waits_for_the_store"],
    },
    Fault {
        name: "forget-that-a-stop-rolls-back",
        edits: &[Edit {
            file: "step/cancel.rs",
            text: "if «rolls_back» || state.life.hard_deadline() < hard",
            faulty: "rolls_back && self.is_over()",
        }],
        caught_by: &["saving::i36_a_rollback_is_stored_with_the_stop"],
    },
    Fault {
        name: "let-a-stopped-run-go-on",
        edits: &[Edit {
            file: "engine/left_behind.rs",
            text: "if «lost::stop_of(&record).is_some()»",
            faulty: "lost::stop_of(&record).is_none()",
        }],
        caught_by: &["recovery::i34_a_run_that_was_stopped_ends_with_that_stop_and_never_goes_on"],
    },
    Fault {
        name: "drop-what-the-store-did-not-take",
        edits: &[Edit {
            file: "journal/writer.rs",
            text: "while «left.peek().is_some()» {",
            faulty: "left.peek().is_some() && self.again.len() > 1_000",
        }],
        caught_by: &["doubt::records_stay_in_their_order_when_a_stop_fails_in_between"],
    },
    Fault {
        name: "store-events-of-a-refused-root",
        edits: &[Edit {
            file: "journal/writer.rs",
            text: "let left_out = «self.journal.lock().unaccepted.take(&mut entries)»;",
            faulty: "Vec::new()",
        }],
        caught_by: &["unaccepted::\
                      a_refused_run_leaves_no_event_in_the_log_of_the_one_that_has_its_id"],
    },
    Fault {
        name: "take-back-what-has-the-id-of-a-refused-root",
        edits: &[Edit {
            file: "journal/doubted.rs",
            text: "if «!is_own» {",
            faulty: "!is_own && false",
        }],
        caught_by: &["unaccepted::\
                      a_root_that_was_refused_in_trouble_leaves_the_run_that_has_its_id_as_it_is"],
    },
    Fault {
        name: "acknowledge-a-lane-before-its-stops",
        edits: &[Edit {
            file: "stored.rs",
            text: "let _ = before.stops_stored().await;",
            faulty: "",
        }],
        caught_by: &["journal::\
                      i34_a_run_that_takes_a_lane_over_is_acknowledged_when_the_stops_of_the_\
                      others_are_stored"],
    },
    Fault {
        name: "supersede-nobody",
        edits: &[Edit {
            file: "step/submit.rs",
            text: "self.stop_superseded(&superseded);",
            faulty: "let _ = Self::stop_superseded;",
        }],
        caught_by: &["lanes::i36_a_run_takes_the_place_of_all_that_its_lane_has"],
    },
    Fault {
        name: "forget-what-is-due-in-a-lane",
        edits: &[Edit {
            file: "tables/admission/state.rs",
            text: "self.lane_runs.add(&lane.key, run, number);",
            faulty: "if due.is_none() { … }",
        }],
        caught_by: &[
            "lanes::i36_a_lane_is_busy_with_a_run_that_is_due_later_and_free_when_that_was_stopped",
        ],
    },
    Fault {
        name: "supersede-who-came-after-the-look",
        edits: &[Edit {
            file: "tables/admission/lane_runs.rs",
            text: "unchanged_since.is_some_and(|mark| newest > Some(mark))",
            faulty: "false",
        }],
        caught_by: &["lanes::i36_a_run_takes_only_the_places_of_those_that_were_there_at_its_mark"],
    },
    Fault {
        name: "hold-a-lane-for-who-leaves",
        edits: &[Edit {
            file: "tables/admission/state.rs",
            text: "self.waits(holder) && is_among(superseded, holder)",
            faulty: "false",
        }],
        caught_by: &["lanes::i36_who_leaves_fills_no_queue_and_holds_no_lane_against_the_new_run"],
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
        name: "stop-anybody",
        edits: &[Edit {
            file: "tables/reservations.rs",
            text: "stops.remove(&(id, scope), now)",
            faulty: "stops.remove(&(id, scope.or(Some(crate::StopScope::new([\"ada\"])))), now)",
        }],
        caught_by: &[
            "scopes::i22_a_stop_that_is_remembered_in_a_scope_is_for_runs_of_that_scope_alone",
        ],
    },
    Fault {
        name: "start-again",
        edits: &[Edit {
            file: "step/submit.rs",
            text: "keys.ask(node.owner(), key, now)?;",
            faulty: "let _ = (&key, &keys);",
        }],
        caught_by: &[
            "claims::i37_the_same_key_and_payload_is_the_same_run_in_every_state",
            "claims::i37_of_submits_with_one_key_at_one_instant_one_starts_and_all_learn_its_id",
        ],
    },
    Fault {
        name: "ask-for-the-key-last",
        edits: &[Edit {
            file: "step/submit.rs",
            text: "keys.ask(node.owner(), key, now)?;",
            faulty: "self.check_live()?; …",
        }],
        caught_by: &["claims::i37_a_repeat_is_answered_whatever_else_it_would_be_refused_for"],
    },
    Fault {
        name: "take-any-payload",
        edits: &[Edit {
            file: "tables/claims.rs",
            text: "claim.payload == key.payload()",
            faulty: "true",
        }],
        caught_by: &["claims::i37_the_same_key_and_payload_is_the_same_run_in_every_state"],
    },
    Fault {
        name: "free-keys-early",
        edits: &[Edit {
            file: "node/shared.rs",
            text: "let now = «keeps_key.then(|| self.clock.now())»;",
            faulty: "keeps_key.then(|| self.clock.now() - quell_core::limits::KEYS_TTL)",
        }],
        caught_by: &[
            "claims::i37_the_key_of_a_run_that_was_forgotten_starts_nothing_for_a_day",
            "claims::i37_a_submit_that_races_a_forget_never_starts_the_run_again",
        ],
    },
    Fault {
        name: "keep-everything",
        edits: &[Edit {
            file: "tables/registry.rs",
            text: "self.runs.remove_if(&id, |_, held| Arc::ptr_eq(held, run)).is_some()",
            faulty: "true",
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
