//! Expressions and templates: how values pass from step to step. The language is `minijinja`'s.
//!
//! Only expressions: a template is text with `{{ … }}` in it, and has no statements. So whatever is
//! evaluated ends, and takes no more memory than its text times what it reads; fuel and a bound on
//! the output do the rest. Nothing reads files, the environment or a clock.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, filters, tests};
use serde::Serialize;

use crate::limits;

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

    /// Evaluates it.
    pub(crate) fn eval(&self, scope: Value) -> Result<Value, String> {
        let evaluated = strict().compile_expression(&self.0).and_then(|it| it.eval(scope));
        let value = evaluated.map_err(|error| words(&error))?;
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
    let inside = template.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inside = inside.strip_prefix('-').unwrap_or(inside);
    let inside = inside.strip_suffix('-').unwrap_or(inside);
    // `{{ a }} {{ b }}` is no expression inside of its outermost braces.
    strict().compile_expression(inside).is_ok().then(|| Expression(inside.trim().into()))
}

/// Renders a template.
pub(crate) fn render(template: &str, scope: Value) -> Result<String, String> {
    let mut out = Bounded(Vec::new());
    let rendered = strict()
        .template_from_str(template)
        .and_then(|template| template.render_captured_to(scope, &mut out).map(drop));
    if let Err(error) = rendered {
        return Err(words(&error));
    }
    String::from_utf8(out.0).map_err(|_| "the text is no UTF-8".into())
}

/// What a text reads: paths such as `steps.build.output`.
pub(super) type Names = BTreeSet<String>;

/// Checks an expression as far as that is possible without values, and yields what it reads.
///
/// One that reads nothing is evaluated. Filters, tests and functions that are not there are found
/// unless they stand where only some values would lead.
pub(super) fn check(text: &str) -> Result<Names, String> {
    let names: Names = {
        let parsed = strict().compile_expression(text).map_err(|error| words(&error))?;
        parsed.undeclared_variables(true).into_iter().collect()
    };
    let env = if names.is_empty() { strict() } else { lenient() };
    match env.compile_expression(text).and_then(|it| it.eval(())) {
        Err(error) if names.is_empty() || is_missing(&error) => Err(words(&error)),
        _ => Ok(names),
    }
}

/// Checks a template as far as that is possible without values, and yields what it reads.
pub(super) fn check_template(text: &str) -> Result<Names, String> {
    for tag in ["{%", "{#"] {
        if text.contains(tag) {
            return Err(format!("`{tag}` in a template; expected `{{{{ … }}}}` only"));
        }
    }
    let names: Names = {
        let parsed = strict().template_from_str(text).map_err(|error| words(&error))?;
        parsed.undeclared_variables(true).into_iter().collect()
    };
    let env = if names.is_empty() { strict() } else { lenient() };
    let mut out = Bounded(Vec::new());
    let rendered = env
        .template_from_str(text)
        .and_then(|template| template.render_captured_to((), &mut out).map(drop));
    match rendered {
        Err(error) if names.is_empty() || is_missing(&error) => Err(words(&error)),
        _ => Ok(names),
    }
}

fn is_missing(error: &Error) -> bool {
    use ErrorKind::{UnknownFilter, UnknownFunction, UnknownTest};
    matches!(error.kind(), UnknownFilter | UnknownTest | UnknownFunction)
}

/// Says it on one line, without the place, which is that of the text.
fn words(error: &Error) -> String {
    if error.kind() == ErrorKind::WriteFailure {
        return format!("the text is over its limit of {} bytes", limits::TEMPLATE_BYTES_MAX);
    }
    let kind = error.kind().to_string();
    let text = match error.detail() {
        Some(detail) if error.kind() == ErrorKind::SyntaxError => detail.to_owned(),
        Some(detail) => format!("{kind}: {detail}"),
        None => kind,
    };
    text.replace('\n', ", ")
}

/// The language in which what is not there is an error.
fn strict() -> &'static Environment<'static> {
    static STRICT: OnceLock<Environment<'static>> = OnceLock::new();
    STRICT.get_or_init(|| environment(UndefinedBehavior::Strict))
}

/// The language in which what is not there reads as nothing, to look for everything else.
fn lenient() -> &'static Environment<'static> {
    static LENIENT: OnceLock<Environment<'static>> = OnceLock::new();
    LENIENT.get_or_init(|| environment(UndefinedBehavior::Chainable))
}

/// Whatever makes much out of little is left out: `indent`, `format`, `range`.
fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(undefined);
    env.set_fuel(Some(limits::EXPRESSION_FUEL));
    env.add_filter("abs", filters::abs);
    env.add_filter("bool", filters::bool);
    env.add_filter("default", filters::default);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("int", filters::int);
    env.add_filter("join", filters::join);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
    env.add_filter("lines", filters::lines);
    env.add_filter("list", filters::list);
    env.add_filter("lower", filters::lower);
    env.add_filter("max", filters::max);
    env.add_filter("min", filters::min);
    env.add_filter("replace", filters::replace);
    env.add_filter("reverse", filters::reverse);
    env.add_filter("round", filters::round);
    env.add_filter("sort", filters::sort);
    env.add_filter("split", filters::split);
    env.add_filter("string", filters::string);
    env.add_filter("sum", filters::sum);
    env.add_filter("tojson", filters::tojson);
    env.add_filter("trim", filters::trim);
    env.add_filter("unique", filters::unique);
    env.add_filter("upper", filters::upper);
    env.add_test("boolean", tests::is_boolean);
    env.add_test("defined", tests::is_defined);
    env.add_test("endingwith", tests::is_endingwith);
    env.add_test("integer", tests::is_integer);
    env.add_test("mapping", tests::is_mapping);
    env.add_test("none", tests::is_none);
    env.add_test("number", tests::is_number);
    env.add_test("sequence", tests::is_sequence);
    env.add_test("startingwith", tests::is_startingwith);
    env.add_test("string", tests::is_string);
    env.add_test("undefined", tests::is_undefined);
    env
}

/// Takes so many bytes and no more.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > limits::TEMPLATE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
