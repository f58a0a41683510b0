//! Expressions and templates: how values pass from step to step. The language is `minijinja`'s.
//!
//! Only expressions: a template is text with `{{ … }}` in it, and has no statements. So whatever is
//! evaluated ends. Its operators and its nesting are bounded when the plan is read, because the
//! parser recurses; what it reads, makes and compares is bounded by a budget that every operand
//! and every filter spends from (`guard`, `work`, `language`). What panics all the same is refused,
//! or fails, like any other error. Nothing reads files, the environment or a clock.

mod guard;
mod language;
mod token;
mod work;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde::Serialize;

use self::language::{lenient, strict};
use crate::limits;

pub(crate) use self::work::read;

/// An expression over the values of a plan, such as `steps.build.output.exit_code == 0`.
///
/// It has been parsed, and names nothing that is not there.
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
    /// Takes an expression that [`check`] has let pass.
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Yields the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Evaluates it, within [`limits::EXPRESSION_WORK_MAX`].
    pub(crate) fn eval(&self, scope: Value) -> Result<Value, String> {
        let value = work::within(limits::EXPRESSION_WORK_MAX, || eval(strict(), &self.0, scope))
            .map_err(Refusal::into_words)?;
        if value.is_undefined() { Err("it is undefined".into()) } else { Ok(value) }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells whether a text is a template: all others stand for themselves.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// Yields the expression of a template that is nothing else: its value keeps its type.
pub(crate) fn only_expression(template: &str) -> Option<Expression> {
    // `{{ a }} {{ b }}` is no expression inside of its outermost braces.
    let [Piece::Expression(inside)] = &*pieces(template.trim()).ok()? else { return None };
    Some(Expression(inside.trim().into()))
}

/// Renders a template, within [`limits::EXPRESSION_WORK_MAX`].
pub(crate) fn render(template: &str, scope: &Value) -> Result<String, String> {
    let pieces = pieces(template)?;
    work::within(limits::EXPRESSION_WORK_MAX, || fill(strict(), &pieces, scope))
        .map_err(Refusal::into_words)
}

/// What a text reads: paths such as `steps.build.output`.
pub(crate) type Names = BTreeSet<String>;

/// Checks an expression as far as that is possible without values, and yields what it reads.
///
/// One that reads nothing is evaluated, unless that takes long. Filters, tests and functions that
/// are not there are found unless they stand where only some values would lead.
pub(super) fn check(text: &str) -> Result<Names, String> {
    let names = names(text)?;
    let env = if names.is_empty() { strict() } else { lenient() };
    let evaluated = work::within(CHECK_WORK, || eval(env, text, ().into()).map(drop));
    checked(evaluated, names)
}

/// Checks a template as far as that is possible without values, and yields what it reads.
pub(crate) fn check_template(text: &str) -> Result<Names, String> {
    for tag in ["{%", "{#"] {
        if text.contains(tag) {
            return Err(format!("`{tag}` in a template; expected `{{{{ … }}}}` only"));
        }
    }
    let pieces = pieces(text)?;
    let mut all = Names::new();
    for piece in &pieces {
        if let Piece::Expression(text) = piece {
            all.append(&mut names(text)?);
        }
    }
    let env = if all.is_empty() { strict() } else { lenient() };
    let rendered = work::within(CHECK_WORK, || fill(env, &pieces, &().into()).map(drop));
    checked(rendered, all)
}

fn checked(evaluated: Result<(), Refusal>, names: Names) -> Result<Names, String> {
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
fn names(text: &str) -> Result<Names, String> {
    work::caught(|| parsed_names(text)).map_err(|error| words(&error))?
}

fn parsed_names(text: &str) -> Result<Names, String> {
    // Its operators are counted first: the parser recurses.
    let guarded = guard::guarded(text)?;
    let parsed = strict().compile_expression(text).map_err(|error| words(&error))?;
    debug_assert!(strict().compile_expression(&guarded).is_ok(), "{text} became {guarded}");
    let Some(called) = guard::with_calls(text)? else {
        return Ok(parsed.undeclared_variables(true).into_iter().collect());
    };
    let parsed = strict().compile_expression(&called).map_err(|error| words(&error))?;
    Ok(parsed.undeclared_variables(true).into_iter().collect())
}

/// Evaluates the text with its guards.
fn eval(env: &Environment<'static>, text: &str, scope: Value) -> Result<Value, Refusal> {
    let guarded = guard::guarded(text).map_err(Refusal::Words)?;
    let value = env.compile_expression(&guarded)?.eval(scope)?;
    Ok(work::weigh(value, 1)?.0)
}

/// A part of a template.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Expression(&'a str),
}

/// Takes a template apart, as the language does: `{{-` and `-}}` take white space with them, and a
/// newline at the end is left out.
fn pieces(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let template = template.strip_suffix('\n').unwrap_or(template);
    let mut rest = template.strip_suffix('\r').unwrap_or(template);
    let mut pieces = Vec::new();
    let mut trims = false;
    loop {
        if trims {
            rest = rest.trim_start();
        }
        let Some((text, inside)) = rest.split_once("{{") else { break };
        let signed = inside.strip_prefix(['-', '+']);
        let text = if inside.starts_with('-') { text.trim_end() } else { text };
        let inside = signed.unwrap_or(inside);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        let Some(end) = guard::end(inside)? else {
            // The words of the language, if it has any.
            names(inside)?;
            return Err("unexpected end of input, expected `}}`".to_owned());
        };
        pieces.push(Piece::Expression(&inside[..end.at]));
        (rest, trims) = (&inside[end.after..], end.trims);
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Puts a text together.
fn fill(
    env: &Environment<'static>,
    pieces: &[Piece<'_>],
    scope: &Value,
) -> Result<String, Refusal> {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Expression(text) => {
                let value = eval(env, text, scope.clone())?;
                match value.as_str() {
                    Some(text) => out.push_str(text),
                    None if value.is_undefined() && env.undefined_behavior() == STRICT => {
                        return Err(Error::from(ErrorKind::UndefinedError).into());
                    }
                    // It was weighed: its text is bounded.
                    None => out.push_str(&value.to_string()),
                }
            }
        }
        if out.len() > limits::TEMPLATE_BYTES_MAX {
            let max = limits::TEMPLATE_BYTES_MAX;
            return Err(Refusal::Words(format!("the text is over its limit of {max} bytes")));
        }
    }
    Ok(out)
}

/// Why there is no value.
#[derive(Debug)]
enum Refusal {
    Words(String),
    Error(Error),
}

impl Refusal {
    fn into_words(self) -> String {
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

/// Says it on one line, without the place, which is that of the text.
fn words(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        let (operations, units) = (limits::EXPRESSION_FUEL, limits::EXPRESSION_WORK_MAX);
        return format!(
            "it takes more than its limit of {operations} operations and {units} bytes read, made \
             and compared"
        );
    }
    let kind = error.kind().to_string();
    let text = match error.detail() {
        Some(detail) if error.kind() == ErrorKind::SyntaxError => detail.to_owned(),
        Some(detail) => format!("{kind}: {detail}"),
        None => kind,
    };
    text.replace('\n', ", ")
}

const STRICT: UndefinedBehavior = UndefinedBehavior::Strict;

/// What an evaluation may take while a plan is read: of a plan of many steps, each is evaluated.
const CHECK_WORK: u64 = 64 << 10;
