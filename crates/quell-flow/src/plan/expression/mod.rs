//! Expressions and templates: how values pass from step to step. The language is `minijinja`'s.
//!
//! Only expressions: a template is text with `{{ … }}` in it, and has no statements. So whatever is
//! evaluated ends. Its operators and its nesting are bounded when the plan is read, because the
//! parser recurses; what it reads, makes and compares is bounded by a budget that every operand
//! and every filter spends from (`guard`, `work`, `language`). What panics all the same is refused,
//! or fails, like any other error. Nothing reads files, the environment or a clock.

mod evaluate;
mod guard;
mod language;
mod template;
mod token;
mod work;

pub use evaluate::Expression;
pub(super) use evaluate::{Names, check};
pub(crate) use template::{check_template, is_template, only_expression, render};
pub(crate) use work::read;
