//! [`Expression`] is checked when the plan is read, and evaluated when the plan runs.

use std::fmt;
use std::sync::Arc;

use minijinja::{Environment, Error, ErrorKind, Value};
use serde::Serialize;

use super::guard;
use super::known::unknown;
use super::language::{lenient, strict};
use super::missing::missing;
use super::paths::{self, Names};
use super::work;
use crate::limits;

/// An expression over the values of a plan, such as `steps.build.output.exit_code == 0`.
///
/// It has been checked: its syntax is right, and every name in it is known at its place.
///
/// # Examples
///
/// ```
/// use quell_flow::{Action, Plan};
///
/// let plan = Plan::from_toml(r#"
///     name = "p"
///     [[steps]]
///     name = "ask"
///     if = "input.urgent"
///     then = [{ name = "call", run = ["true"] }]
/// "#).unwrap();
/// let Action::If(step) = &plan.steps()[0].action else { unreachable!() };
/// assert_eq!(step.condition.as_str(), "input.urgent");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Expression(Arc<str>);

impl Expression {
    /// Makes an expression of a text that [`check`] has accepted.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Yields the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Evaluates it, within [`limits::EXPRESSION_WORK_MAX`].
    pub(crate) fn eval(&self, scope: &Value) -> Result<Value, String> {
        work::within(limits::EXPRESSION_WORK_MAX, || defined(&self.0, scope))
            .map_err(Refusal::into_words)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks an expression as far as that is possible without values, and yields the paths that it
/// reads.
///
/// An expression that reads nothing is evaluated, within a small budget. One that reads something
/// is evaluated without values, which finds unknown filters, tests and functions, except in
/// branches that only some values lead to.
pub(crate) fn check(text: &str) -> Result<Names, String> {
    let names = names(text)?;
    let env = if names.is_empty() { strict() } else { lenient() };
    let evaluated = work::within(CHECK_WORK, || eval(env, text, ().into()).map(drop));
    checked(evaluated, names)
}

pub(super) fn checked(evaluated: Result<(), Refusal>, names: Names) -> Result<Names, String> {
    use ErrorKind::{OutOfFuel, UnknownFilter, UnknownFunction, UnknownTest};
    let Err(refusal) = evaluated else { return Ok(names) };
    let is_sure = match &refusal {
        Refusal::Words(_) => true,
        Refusal::Error(error) => match error.kind() {
            UnknownFilter | UnknownTest | UnknownFunction => true,
            // It may be within its bound when it runs.
            OutOfFuel => false,
            _ => names.is_empty(),
        },
    };
    if is_sure { Err(refusal.into_words()) } else { Ok(names) }
}

/// Parses an expression, and yields what it reads.
pub(crate) fn names(text: &str) -> Result<Names, String> {
    work::caught(|| parsed_names(text)).map_err(|error| words(&error))?
}

fn parsed_names(text: &str) -> Result<Names, String> {
    // The guard counts operators before the parser sees the text, because the parser recurses.
    let guarded = guard::guarded(text)?;
    strict().compile_expression(text).map_err(|error| words(&error))?;
    debug_assert!(strict().compile_expression(&guarded).is_ok(), "{text} became {guarded}");
    // In brackets the parser cannot end before the text does.
    debug_assert!(strict().compile_expression(&format!("({text})")).is_ok(), "a part of {text}");
    paths::of(text)
}

/// Evaluates the text. A value that is missing is an error that names it.
pub(super) fn defined(text: &str, scope: &Value) -> Result<Value, Refusal> {
    let undefined = match eval(strict(), text, scope.clone()) {
        Ok(value) if !value.is_undefined() => return Ok(value),
        Ok(_) => Refusal::Error(Error::from(ErrorKind::UndefinedError)),
        Err(refusal) => refusal,
    };
    match &undefined {
        Refusal::Error(error) if error.kind() == ErrorKind::UndefinedError => {
            let names = names(text).map_err(Refusal::Words)?;
            Err(missing(&names, scope).map_or(undefined, Refusal::Words))
        }
        _ => Err(undefined),
    }
}

/// Evaluates the text with its guards.
pub(super) fn eval(env: &Environment<'static>, text: &str, scope: Value) -> Result<Value, Refusal> {
    let guarded = guard::guarded(text).map_err(Refusal::Words)?;
    let value = env.compile_expression(&guarded)?.eval(scope)?;
    Ok(work::weigh(value, 1)?.0)
}

/// The reason why there is no value: a message of ours, or an error of the language.
#[derive(Debug)]
pub(super) enum Refusal {
    Words(String),
    Error(Error),
}

impl Refusal {
    pub(super) fn into_words(self) -> String {
        match self {
            Self::Words(words) => words,
            Self::Error(error) => words(&error),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Yields the message of an error on one line, without its place: the text has its own.
fn words(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        let (operations, units) = (limits::EXPRESSION_FUEL, limits::EXPRESSION_WORK_MAX);
        return format!(
            "it takes more than its limit of {operations} operations and {units} bytes read, made \
             and compared"
        );
    }
    if let Some(words) = unknown(error) {
        return words;
    }
    let kind = error.kind().to_string();
    let detail = error.detail().map(without_wrapper);
    let text = match detail {
        Some(detail) if error.kind() == ErrorKind::SyntaxError => detail.to_owned(),
        Some(detail) => format!("{kind}: {detail}"),
        None => kind,
    };
    text.replace('\n', ", ")
}

/// Yields the error of a value that is one, of what the language says of a text with that value.
fn without_wrapper(detail: &str) -> &str {
    let wrapped = detail.split_once("<invalid value: ").and_then(|(_, rest)| rest.rsplit_once('>'));
    wrapped.map_or(detail, |(inner, _)| inner.split_once(": ").map_or(inner, |(_, words)| words))
}

/// The budget of one evaluation while a plan is read. It is small, since a plan of many steps has
/// many expressions.
pub(super) const CHECK_WORK: u64 = 64 << 10;
