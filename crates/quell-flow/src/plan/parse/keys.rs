//! The keys of plans, steps and branches, and which goes with which.

pub(super) const PLAN_KEYS: [&str; 7] =
    ["name", "description", "timeout", "grace", "steps", "on_failure", "on_stop"];

pub(super) const ACTION_KEYS: [&str; 10] =
    ["run", "sequence", "parallel", "loop", "if", "route", "team", "component", "workflow", "wait"];

pub(super) const GOES_WITH: [(&str, &[&str]); 11] = [
    ("cwd", &["run"]),
    ("env", &["run"]),
    ("env_clear", &["run"]),
    ("input", &["run", "component", "workflow", "team"]),
    ("branches", &["parallel"]),
    ("steps", &["loop"]),
    ("then", &["if"]),
    ("else", &["if"]),
    ("routes", &["route"]),
    ("otherwise", &["route"]),
    ("members", &["team"]),
];

/// The keys of a branch of a parallel step. Other steps have no `needs`.
pub(super) const BRANCH_KEYS: [&str; 29] = [
    "needs",
    "name",
    "timeout",
    "grace",
    "idle",
    "run",
    "cwd",
    "env",
    "env_clear",
    "input",
    "sequence",
    "parallel",
    "branches",
    "loop",
    "steps",
    "if",
    "then",
    "else",
    "route",
    "routes",
    "otherwise",
    "team",
    "members",
    "component",
    "workflow",
    "wait",
    "retry",
    "on_failure",
    "on_stop",
];

/// The keys of every other step.
pub(super) const STEP_KEYS: &[&str] = BRANCH_KEYS.split_at(1).1;
