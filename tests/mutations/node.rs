//! Faults of one run, and of what its end and its stop mean for others.

use super::{Edit, Fault, SOAK};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "stay-attached",
        edits: &[Edit {
            file: "step/detach.rs",
            text: "parent.ok_or(DetachError::IsRoot)?",
            faulty: "return parent.map(drop).ok_or(DetachError::IsRoot)",
        }],
        caught_by: &[
            "detach::i25_a_child_survives_its_parent_only_by_detach_and_has_a_log_of_its_own",
        ],
    },
    Fault {
        name: "end-early",
        edits: &[Edit {
            file: "node/wait.rs",
            text: "self.life.status().is_terminal()",
            faulty: "… || self.life.is_stopping()",
        }],
        caught_by: &[
            "execution::i19_an_attempt_starts_when_the_one_before_is_over",
            "waiting::i33_any_number_of_waiters_is_told_and_none_too_early",
        ],
    },
    Fault {
        name: "skip-signal",
        edits: &[Edit {
            file: "step/cascade.rs",
            text: "self.begin(propagation)",
            faulty: "if matches!(propagation, Propagation::Cascade(..)) { 1 } else { … }",
        }],
        caught_by: &["tree::i2_every_live_descendant_is_signalled_when_cancel_returns", SOAK],
    },
    Fault {
        name: "skip-abandon",
        edits: &[Edit {
            file: "step/cascade.rs",
            text: "self.stack.push(Next::Stage(Box::new(StageWalk::new(node, stage, self.now))))",
            faulty: "if stage != Stage::Abandon { … }",
        }],
        caught_by: &["blocked::i12_every_program_is_terminal_by_grace_and_abort_wait"],
    },
    Fault {
        name: "abort-late",
        edits: &[Edit {
            file: "step/cascade.rs",
            text: "self.stack.push(Next::Stage(Box::new(StageWalk::new(node, stage, self.now))))",
            faulty: "if stage != Stage::Abort { … }",
        }],
        caught_by: &["time::i12_depth_does_not_multiply_the_grace"],
    },
    Fault {
        name: "decide-after-stop",
        edits: &[Edit {
            file: "node/write.rs",
            text: "self.write_unless_fenced(false, decided, note)",
            faulty: "self.write_unless_fenced(true, decided, note)",
        }],
        caught_by: &["fence::i9_after_a_stop_no_outcome_is_known_and_all_may_still_be_settled"],
    },
    Fault {
        name: "accept-late-write",
        edits: &[Edit {
            file: "node/write.rs",
            text: "state.times.ended.is_some()",
            faulty: "false",
        }],
        caught_by: &[
            "blocked::i27_a_blocking_closure_is_abandoned_honestly_and_its_late_output_is_counted",
        ],
    },
    Fault {
        name: "record-a-call-twice",
        edits: &[Edit {
            file: "node/write.rs",
            text: "calls.remove(place)",
            faulty: "Arc::clone(call)",
        }],
        caught_by: &["tools::i18_every_recorded_call_has_exactly_one_recorded_outcome"],
    },
    Fault {
        name: "forget-the-deadline-above",
        edits: &[Edit {
            file: "node/node.rs",
            text: "earliest.into_iter().chain(deadline).min()",
            faulty: "earliest",
        }],
        caught_by: &["time::i10_the_earliest_deadline_of_a_run_and_its_ancestors_counts"],
    },
    Fault {
        name: "keep-the-old-timer",
        edits: &[Edit {
            file: "step/step.rs",
            text: "wanted != state.armed.map(|key| key.at)",
            faulty: "… && (state.armed.is_none() || wanted.is_none())",
        }],
        caught_by: &[
            "limits_changed::i10_a_changed_timeout_counts_from_the_start_and_fires_when_it_says",
        ],
    },
    Fault {
        name: "promise-more-than-an-ancestor-allows",
        edits: &[Edit {
            file: "step/limits.rs",
            text: "self.deadline()",
            faulty: "self.lock().life.timeout_at()",
        }],
        caught_by: &["limits_changed::i10_no_change_gives_a_run_longer_than_its_ancestors_allow"],
    },
    Fault {
        name: "watch-only-what-comes",
        edits: &[Edit {
            file: "step/limits.rs",
            text: "self.spread_watch(&watch, before.as_ref())",
            faulty: "()",
        }],
        caught_by: &[
            "limits_changed::i11_an_idle_limit_that_comes_later_sees_the_runs_spawned_before_it",
        ],
    },
    Fault {
        name: "read-what-was",
        edits: &[Edit {
            file: "node/flags.rs",
            text: "RunStatus::ALL.get((bits & STATUS) as usize).copied()\
                   .unwrap_or(RunStatus::Queued)",
            faulty: "if bits & STOPPING != 0 { RunStatus::Running } else { … }",
        }],
        caught_by: &["events::i32_after_an_acknowledgement_every_read_shows_stopping_or_later"],
    },
    Fault {
        name: "time-out-the-children",
        edits: &[Edit {
            file: "node/report.rs",
            text: "node.told_status(state)",
            faulty: "match … { RunStatus::Cancelled => RunStatus::TimedOut, status => status }",
        }],
        caught_by: &["time::i11_only_the_run_that_declared_the_deadline_is_timed_out"],
    },
    Fault {
        name: "claim-quiescence",
        edits: &[Edit {
            file: "node/report.rs",
            text: "state.life.is_quiescent()",
            faulty: "true",
        }],
        caught_by: &["blocked::i4_quiesced_follows_when_an_abandoned_body_has_really_ended", SOAK],
    },
    Fault {
        name: "lose-what-was-done",
        edits: &[
            Edit {
                file: "node/report.rs",
                text: "row.late_output = state.late",
                faulty: "row.partial = None; …",
            },
            Edit {
                file: "node/report.rs",
                text: "(state.has_emitted && status.is_terminal()).then_some(node.id)",
                faulty: "None",
            },
        ],
        caught_by: &["execution::i17_what_was_finished_before_the_stop_is_in_the_report"],
    },
    Fault {
        name: "blame-the-stopped",
        edits: &[Edit {
            file: "node/report.rs",
            text: "status == RunStatus::Failed",
            faulty: "true",
        }],
        caught_by: &["tree::i5_errors_and_panics_while_stopping_are_no_failures"],
    },
    Fault {
        name: "ignore-a-shorter-grace",
        edits: &[Edit { file: "step/cancel.rs", text: "request.grace_asked()", faulty: "None" }],
        caught_by: &["requests::i7_modes_only_rise_and_deadlines_only_shrink"],
    },
    Fault {
        name: "overwrite-cause",
        edits: &[Edit {
            file: "step/cancel.rs",
            text: "first.clone_from(&state.cause)",
            faulty: "if state.cause.is_some() {
                let at = self.shared.clock.wall(self.shared.clock.now());
                state.cause = Some(Arc::new(request.to_cause(at, self.id)));
            }
            …",
        }],
        caught_by: &["requests::i6_the_first_cause_wins_and_nothing_overwrites_it"],
    },
    Fault {
        name: "blame-the-ended",
        edits: &[Edit {
            file: "step/cancel.rs",
            text: "first.clone_from(&state.cause)",
            faulty: "if state.times.ended.is_some() {
                let at = self.shared.clock.wall(self.shared.clock.now());
                state.cause = Some(Arc::new(request.to_cause(at, self.id)));
            }
            …",
        }],
        caught_by: &["edges::i23_cancelling_a_terminal_run_changes_nothing_and_says_so"],
    },
    Fault {
        name: "accept-too-late",
        edits: &[Edit {
            file: "step/cancel.rs",
            text: "deferred.fx.answer.unwrap_or(Answer::AlreadyTerminal(self.status()))",
            faulty: "if self.status() == quell_core::RunStatus::Completed {
                return Disposition::Accepted { hard_deadline: self.shared.clock.now() };
            }
            …",
        }],
        caught_by: &[
            "races::i9_an_accepted_cancel_never_ends_completed_and_a_completed_run_refuses_it",
        ],
    },
    Fault {
        name: "leave-the-stream-open",
        edits: &[Edit { file: "step/step.rs", text: "shared.finish_closing()", faulty: "" }],
        caught_by: &[
            "promises::i38_a_shutdown_that_is_dropped_still_ends_the_streams_of_the_engine",
        ],
    },
    Fault {
        name: "fail-in-silence",
        edits: &[Edit {
            file: "step/step.rs",
            text: "it may wait for the token, or here.
            «deferred.tell(state)»",
            faulty: "",
        }],
        caught_by: &["tokens::i2_a_run_that_fails_tells_its_token_and_all_who_ask"],
    },
    Fault {
        name: "second-terminal-event",
        edits: &[Edit {
            file: "step/end.rs",
            text: "self.write_end(state, status, non_quiescent, now, &mut deferred.wakers)",
            faulty: "self.log_of(state);
            self.write(state, now, EventKind::Ended(status), &mut deferred.wakers);
            …",
        }],
        caught_by: &["tree::i3_a_run_has_one_terminal_event_and_only_quiesced_follows"],
    },
    Fault {
        name: "keep-the-error",
        edits: &[Edit {
            file: "step/end.rs",
            text: "deferred.rare().failure = state.take_failure()",
            faulty: "",
        }],
        caught_by: &[
            "promises::i39_an_error_that_holds_its_own_run_goes_with_the_last_who_may_ask_for_it",
        ],
    },
];
