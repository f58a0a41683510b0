//! [`strict`] and [`lenient`] are the language of expressions: `minijinja`'s, with bounded filters.

use std::borrow::Cow;
use std::sync::OnceLock;

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value, filters, tests};

use super::guard::{COPIED, NUMBER, STEP, WEIGH};
use super::quote::{QUOTE, quote};
use super::work::{self, VALUE_UNITS};
use crate::limits;

/// Yields the language in which a missing value is an error.
pub(super) fn strict() -> &'static Environment<'static> {
    static STRICT: OnceLock<Environment<'static>> = OnceLock::new();
    STRICT.get_or_init(|| environment(UndefinedBehavior::Strict))
}

/// Yields the language in which a missing value is nothing, to check an expression without values.
pub(super) fn lenient() -> &'static Environment<'static> {
    static LENIENT: OnceLock<Environment<'static>> = OnceLock::new();
    LENIENT.get_or_init(|| environment(UndefinedBehavior::Chainable))
}

/// Makes the language. Filters and functions whose result can be much larger than their arguments
/// are either left out (`indent`, `format`, `range`) or spend for the result before they make it.
fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(undefined);
    env.set_fuel(Some(limits::EXPRESSION_FUEL));
    env.add_filter(WEIGH, |value: Value, times: u64| {
        work::weigh(value, times).map(|(value, _)| value)
    });
    env.add_filter(COPIED, |value: Value, times: u64| {
        let bytes = value.as_str().map_or(0, |text| text.len() as u64);
        work::spend(bytes.saturating_mul(times)).map(|()| value)
    });
    env.add_filter(NUMBER, number);
    env.add_filter(STEP, step);
    add_bounded(&mut env);
    env.add_filter("abs", filters::abs);
    env.add_filter("bool", filters::bool);
    env.add_filter("default", filters::default);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("int", filters::int);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
    env.add_filter("lower", filters::lower);
    env.add_filter(QUOTE, quote);
    env.add_filter("reverse", filters::reverse);
    env.add_filter("round", filters::round);
    env.add_filter("string", filters::string);
    env.add_filter("upper", filters::upper);
    env.add_test("boolean", tests::is_boolean);
    env.add_test("defined", tests::is_defined);
    env.add_test("integer", tests::is_integer);
    env.add_test("mapping", tests::is_mapping);
    env.add_test("none", tests::is_none);
    env.add_test("number", tests::is_number);
    env.add_test("sequence", tests::is_sequence);
    env.add_test("string", tests::is_string);
    env.add_test("undefined", tests::is_undefined);
    env
}

/// Adds the filters whose result can be much larger than their arguments, or that read these many
/// times. Each is also added unbounded, under a name that begins with `|`, which no text can call.
fn add_bounded(env: &mut Environment<'static>) {
    macro_rules! bounded {
        ($($name:ident: $price:expr),* $(,)?) => {$(
            env.add_filter(concat!("|", stringify!($name)), filters::$name);
            env.add_filter(
                stringify!($name),
                |state: &mut State<'_, '_>, value: Value, rest: Rest<ValueOrKwargs>| {
                    let (value, weight) = work::weigh(value, 1)?;
                    let rest: Vec<_> = rest.0.into_iter().map(ValueOrKwargs::into_value).collect();
                    let price: fn(&Value, work::Weight, &[Value]) -> Result<u64, Error> = $price;
                    work::spend(price(&value, weight, &rest)?)?;
                    let args: Vec<_> = std::iter::once(value).chain(rest).collect();
                    state.apply_filter(concat!("|", stringify!($name)), &args)
                },
            );
        )*};
    }
    bounded! {
        join: per_item,
        list: |value, _, _| Ok(per_char(value)),
        lines: |value, _, _| Ok(per_line(value)),
        max: sorted,
        min: sorted,
        replace: |value, _, rest| Ok(replaced(value, rest)),
        sort: sorted,
        split: |value, _, rest| Ok(parted(value, rest)),
        sum: summed,
        tojson: written,
        trim: trimmed,
        unique: sorted,
    }
    env.add_test("|endingwith", tests::is_endingwith);
    env.add_test("endingwith", |state: &mut State<'_, '_>, value: Value, end: Value| {
        state.perform_test("|endingwith", &[as_read(value)?, as_read(end)?])
    });
    env.add_test("|startingwith", tests::is_startingwith);
    env.add_test("startingwith", |state: &mut State<'_, '_>, value: Value, start: Value| {
        state.perform_test("|startingwith", &[as_read(value)?, as_read(start)?])
    });
}

/// Weighs an argument of a test that would make a text of it.
fn as_read(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map | ValueKind::Plain => {
            work::weigh(value, 1).map(|(value, _)| value)
        }
        _ => Ok(value),
    }
}

/// Refuses an operand of `*` that is no number: `*` would repeat a text or a list.
fn number(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Number | ValueKind::Bool | ValueKind::Undefined | ValueKind::Invalid => {
            Ok(value)
        }
        kind => {
            let words = format!("`*` takes numbers, got {kind}");
            Err(Error::new(ErrorKind::InvalidOperation, words))
        }
    }
}

/// Refuses the step of a slice that goes backwards: with one, the language panics at an empty
/// value.
fn step(value: Value) -> Result<Value, Error> {
    match i64::try_from(value.clone()) {
        Ok(..1) => {
            let words = "the step of a slice is at least 1; `reverse` yields the other order";
            Err(Error::new(ErrorKind::InvalidOperation, words))
        }
        // The slice itself refuses a step that is no number.
        Ok(_) | Err(_) => Ok(value),
    }
}

/// Lists the arguments, both by position and by name.
fn arguments(rest: &[Value]) -> Result<Vec<Value>, Error> {
    let mut all = Vec::new();
    for argument in rest {
        if argument.kind() == ValueKind::Map {
            for key in argument.try_iter()? {
                all.push(argument.get_item(&key)?);
            }
        } else {
            all.push(argument.clone());
        }
    }
    Ok(all)
}

/// The price of an argument that is used once per item: a text between them, or a path into each.
fn per_item(value: &Value, weight: work::Weight, rest: &[Value]) -> Result<u64, Error> {
    let items = value.len().unwrap_or(1) as u64;
    let mut units = 0_u64;
    for argument in arguments(rest)? {
        let each = match argument.as_str() {
            Some(text) => text.len() as u64,
            None if argument.is_number() || argument.is_none() => 0,
            None => weight.units(),
        };
        units = units.saturating_add(items.saturating_mul(each));
    }
    Ok(units)
}

/// The price of `sum`. If the start is no number, each addition copies the sum so far.
fn summed(value: &Value, weight: work::Weight, rest: &[Value]) -> Result<u64, Error> {
    let named = rest.iter().filter(|it| it.kind() == ValueKind::Map);
    let named = named.map(|it| it.get_attr("start")).collect::<Result<Vec<_>, _>>()?;
    let mut starts = rest.iter().skip(1).chain(&named);
    let copies = starts.any(|start| !(start.is_number() || start.is_undefined()));
    let items = value.len().unwrap_or(1) as u64;
    let more = if copies { items.saturating_mul(weight.units()) } else { 0 };
    Ok(more.saturating_add(per_item(value, weight, rest)?))
}

fn per_char(value: &Value) -> u64 {
    value.as_str().map_or(0, |text| text.len() as u64 * VALUE_UNITS)
}

fn per_line(value: &Value) -> u64 {
    let lines = value.as_str().map_or(0, |text| text.bytes().filter(|it| *it == b'\n').count());
    lines as u64 * VALUE_UNITS
}

/// The price of a sort: each item is compared about log2(number of items) times.
fn sorted(value: &Value, weight: work::Weight, rest: &[Value]) -> Result<u64, Error> {
    let items = value.len().unwrap_or(1).max(2) as u64;
    let once = (weight.bytes + weight.values).saturating_add(per_item(value, weight, rest)?);
    Ok(once.saturating_mul(items.ilog2().into()))
}

fn parted(value: &Value, rest: &[Value]) -> u64 {
    let text = text(value);
    let parts = match rest.first().and_then(Value::as_str) {
        Some(separator) => text.matches(separator).count(),
        None => text.split_whitespace().count(),
    };
    parts as u64 * VALUE_UNITS
}

fn replaced(value: &Value, rest: &[Value]) -> u64 {
    let [from, to] = rest else { return 0 };
    let places = text(value).matches(&*text(from)).count() as u64;
    places.saturating_mul(text(to).len() as u64)
}

/// The price of `tojson`: each value may be on a line of its own, indented by its depth.
fn written(value: &Value, weight: work::Weight, rest: &[Value]) -> Result<u64, Error> {
    let mut indent = 0;
    for argument in arguments(rest)? {
        let is_number = argument.kind() == ValueKind::Number;
        indent = indent.max(if is_number { u64::try_from(argument)? } else { 2 });
    }
    let escaped = value.as_str().map_or(0, |text| 6 * text.len() as u64);
    let lines = weight.values.saturating_mul(indent.saturating_mul(weight.depth + 1));
    // A text may have lines of its own, which are indented as well.
    Ok(escaped.saturating_add(lines).saturating_add(indent.saturating_mul(weight.bytes)))
}

fn trimmed(value: &Value, weight: work::Weight, rest: &[Value]) -> Result<u64, Error> {
    let chars = arguments(rest)?.iter().map(|argument| text(argument).len() as u64).sum::<u64>();
    let bytes = value.as_str().map_or(weight.units(), |text| text.len() as u64);
    Ok(bytes.saturating_mul(chars))
}

fn text(value: &Value) -> Cow<'_, str> {
    value.as_str().map_or_else(|| value.to_string().into(), Cow::Borrowed)
}
