//! Every bound of this crate, its unit in its name. Each has a stated behaviour when reached.

/// The text of a plan. A longer one is refused before it is parsed.
pub const PLAN_BYTES_MAX: usize = 1 << 20;

/// Steps of a plan, branches and nested steps included. One more is refused.
pub const PLAN_STEPS_MAX: usize = 10_000;

/// How deep steps nest, those at the top being at 1. A deeper one is refused.
pub const PLAN_DEPTH_MAX: usize = 32;

/// How deep tables and lists nest in the text of a plan. More is refused. A step takes two levels,
/// a list and a table; the rest is for the values inside.
pub const PLAN_NESTING_MAX: usize = 2 * PLAN_DEPTH_MAX + 12;

/// Errors of branches that the message of an aggregate quotes. The rest is counted.
pub const AGGREGATE_ERRORS_MAX: usize = 8;
