//! [`Expression`] and templates pass values from step to step. The language is `minijinja`'s.
//!
//! A template is a text with expressions in `{{ … }}`. There are no statements, so that every
//! evaluation ends. The number of operators and the nesting are bounded when the plan is read,
//! because the parser recurses (`guard`). A budget bounds what an evaluation reads, makes and
//! compares; every operand and every filter spends from it (`work`, `language`). A panic of the
//! language is an error of the expression. No expression reads files, the environment or a clock,
//! and none reads a text that was cut as if it were whole (`cut`).

mod cut;
mod evaluate;
mod guard;
mod known;
mod language;
mod missing;
mod newline;
mod paths;
mod quote;
mod script;
mod template;
mod token;
mod whole;
mod work;

pub(crate) use cut::{below, is_word};
pub use evaluate::Expression;
pub(super) use evaluate::{check, names};
pub(super) use known::{FILTERS, TESTS, all_unknown};
pub(crate) use newline::{Compared, as_path, compared, has_quote_inside};
pub(super) use paths::{Names, Path};
pub(crate) use template::{
    Exposed, behind_dollar, check_template, exposed, expressions, is_template, only_expression,
    render,
};
pub(crate) use whole::reads_whole;
pub(crate) use work::read;
