//! Every bound of this crate, its unit in its name. Each has a stated behaviour when reached.

/// The text of a plan. A longer one is refused before it is parsed.
pub const PLAN_BYTES_MAX: usize = 1 << 20;

/// Steps of a plan, branches and nested steps included. One more is refused.
pub const PLAN_STEPS_MAX: usize = 10_000;

/// Nodes that come next behind a step of a component with nodes
/// ([`Emit::Step`](crate::Emit::Step)). What names more is no step for who reads it.
pub const NEXT_MAX: usize = 10_000;

/// How deep steps nest, those at the top being at 1. A deeper one is refused.
pub const PLAN_DEPTH_MAX: usize = 32;

/// How deep tables and lists nest in the text of a plan. More is refused. A step takes two levels,
/// a list and a table; the rest is for the values inside.
pub const PLAN_NESTING_MAX: usize = 2 * PLAN_DEPTH_MAX + 12;

/// Errors of branches that the message of an aggregate quotes. The rest is counted.
pub const AGGREGATE_ERRORS_MAX: usize = 8;

/// Rounds of a loop. A plan that asks for more is refused.
pub const LOOP_ROUNDS_MAX: usize = 1_000_000;

/// The text of an expression or a template. A longer one is refused.
pub const EXPRESSION_BYTES_MAX: usize = 64 << 10;

/// Operators of one expression: what stands between two operands or before one, filters, tests,
/// dots and opening brackets. One more is refused when the plan is read.
pub const EXPRESSION_OPERATORS_MAX: usize = 400;

/// How deep brackets nest in an expression. A deeper one is refused when the plan is read.
pub const EXPRESSION_NESTING_MAX: usize = 32;

/// What one evaluation may read, make and compare, in bytes: each value counts as 64, and a text
/// as its bytes besides. More fails it. So it takes at most about 256 MiB and a second.
pub const EXPRESSION_WORK_MAX: u64 = 64 << 20;

/// Operations of one evaluation. One more fails it.
pub const EXPRESSION_FUEL: u64 = 100_000;

/// What a template makes. More fails it.
pub const TEMPLATE_BYTES_MAX: usize = 4 << 20;

/// Faults of a plan that are looked for. Then the search ends.
pub const PLAN_FAULTS_MAX: usize = 100;

/// Earlier runs of a session that a run may get. More counts as so many.
pub const HISTORY_RUNS_MAX: usize = 100;

/// What was said in these runs, as JSON, in bytes. The oldest runs leave first, each with all that
/// was said in it: no message is cut.
pub const HISTORY_BYTES_MAX: usize = 1 << 20;
