//! The tests of the crate, one module per guarantee.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod backoff;
mod catalog_recovery;
mod destructors;
mod limiters;
mod losers;
mod needs;
mod noise;
mod oracle;
mod parallel_outcomes;
mod parallel_stops;
mod parallel_times;
mod plan_checks;
mod plan_choices;
mod plan_cleanup;
mod plan_cuts;
mod plan_errors;
mod plan_files;
mod plan_indexes;
mod plan_limits;
mod plan_messages;
mod plan_missing;
mod plan_mistakes;
mod plan_needs;
mod plan_nested;
mod plan_numbers;
mod plan_page;
mod plan_parts;
mod plan_passes;
mod plan_paths;
mod plan_policies;
mod plan_runs;
mod plan_schema;
mod plan_secrets;
mod plan_shell;
mod plan_skipped;
mod plan_synonyms;
mod plan_text;
mod plan_traps;
mod plan_unsaid;
mod plan_waits;
mod plan_words;
mod plan_yaml;
mod policies;
mod policy_outcomes;
mod retries;
mod retry_bodies;
mod stage_events;
mod summaries;
mod support;
mod teams;
