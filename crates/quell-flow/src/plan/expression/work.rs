//! [`within`] evaluates within a budget, from which [`spend`] takes for what is read, made and
//! compared.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};
use quell::Payload;

use super::cut;
use crate::limits;

/// Evaluates within a budget. A payload that is read several times is parsed once. A panic is an
/// error.
pub(super) fn within<T, E: From<Error>>(
    budget: u64,
    evaluate: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let around = WORK.replace(Work { left: budget, read: Vec::new() });
    let result = caught(evaluate);
    WORK.set(around);
    result?
}

/// Calls the language, and yields its panic as an error. Texts and values come from outside, and a
/// fault of the language must not end a server. The panic hook of the process still reports the
/// panic, so that the fault can be found.
pub(super) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let words = format!("{PANICKED}: {}", text.unwrap_or("without words"));
        Error::new(ErrorKind::InvalidOperation, words)
    })
}

/// Spends some of the budget.
pub(super) fn spend(units: u64) -> Result<(), Error> {
    WORK.with_borrow_mut(|work| {
        let left = work.left.checked_sub(units);
        work.left = left.unwrap_or(0);
        left.map(drop).ok_or_else(|| Error::from(ErrorKind::OutOfFuel))
    })
}

/// Reads a payload as a value, of which an expression reads `path`. If the budget is too small for
/// it, the value is an error.
pub(crate) fn read(payload: &Payload, path: &str) -> Value {
    let text = payload.as_json();
    let known = WORK.with_borrow(|work| {
        let mut read = work.read.iter();
        let is_same = |known: &Payload| {
            std::ptr::eq(known.as_json().as_ptr(), text.as_ptr())
                && known.as_json().len() == text.len()
        };
        read.find(|(known, _)| is_same(known)).map(|(_, value)| value.clone())
    });
    if let Some(value) = known {
        return value;
    }
    if let Err(error) = spend(text.len() as u64 + values_of(text) * VALUE_UNITS) {
        return Value::from(error);
    }
    let value: Value = payload.parse().unwrap_or_else(|error| {
        // A payload is JSON. One that a value cannot hold is read as its text.
        let _ = error;
        Value::from(text)
    });
    let value = if cut::may_be_cut(text) {
        cut::guarded(value, path).unwrap_or_else(Value::from)
    } else {
        value
    };
    WORK.with_borrow_mut(|work| work.read.push((payload.clone(), value.clone())));
    value
}

/// Yields an upper bound of the number of values in a JSON text.
fn values_of(text: &str) -> u64 {
    let (mut values, mut is_text, mut is_escaped) = (1, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b',' | b':' | b'[' | b'{' if !is_text => values += 1,
            _ => {}
        }
    }
    values
}

/// The size of a value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    /// The bytes of its texts, as JSON writes them.
    pub(super) bytes: u64,
    pub(super) values: u64,
    pub(super) depth: u64,
}

impl Weight {
    pub(super) const fn units(self) -> u64 {
        self.bytes + self.values * VALUE_UNITS
    }
}

/// Weighs a value and spends its weight so many times. A lazy list, which is made anew for each
/// reader, becomes a real one.
pub(super) fn weigh(value: Value, times: u64) -> Result<(Value, Weight), Error> {
    let value = match value.kind() {
        ValueKind::Iterable => {
            let mut items = Vec::new();
            for item in value.try_iter()? {
                spend(VALUE_UNITS)?;
                items.push(item);
            }
            Value::from(items)
        }
        _ => value,
    };
    let mut weight = Weight::default();
    add(&value, 0, &mut weight)?;
    spend(weight.units().saturating_mul(times.saturating_sub(1)))?;
    Ok((value, weight))
}

/// Adds the weight of a value and spends it on the way, because a value with shared parts can be
/// much larger than its memory. Recurses as deep as JSON, and lists in an expression, may nest.
fn add(value: &Value, depth: u64, weight: &mut Weight) -> Result<(), Error> {
    weight.values += 1;
    weight.depth = weight.depth.max(depth);
    spend(VALUE_UNITS)?;
    if let Some(text) = value.as_str() {
        let bytes = if depth == 0 { text.len() as u64 } else { written(text) };
        weight.bytes += bytes;
        return spend(bytes);
    }
    match value.kind() {
        ValueKind::Invalid => Err(Error::new(ErrorKind::InvalidOperation, value.to_string())),
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter()?.try_for_each(|item| add(&item, depth + 1, weight))
        }
        ValueKind::Map => value.try_iter()?.try_for_each(|key| {
            add(&key, depth + 1, weight)?;
            add(&value.get_item(&key)?, depth + 1, weight)
        }),
        _ => Ok(()),
    }
}

/// Yields an upper bound of the bytes of a text in JSON.
fn written(text: &str) -> u64 {
    let escaped = |byte: &u8| !matches!(byte, b' '..=b'~') || b"\"'\\<>&".contains(byte);
    let more = text.as_bytes().iter().filter(|byte| escaped(byte)).count();
    (text.len() + 5 * more) as u64
}

struct Work {
    left: u64,
    /// The payloads that were parsed, with their values.
    read: Vec<(Payload, Value)>,
}

thread_local! {
    static WORK: RefCell<Work> =
        const { RefCell::new(Work { left: limits::EXPRESSION_WORK_MAX, read: Vec::new() }) };
}

/// The units of a value besides its text: about its bytes in memory.
pub(super) const VALUE_UNITS: u64 = 64;

/// The beginning of the message of a panic.
const PANICKED: &str = "the expression language panicked";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_leaves_the_budget_around_it() {
        within::<_, Error>(1_000, || {
            let inside = within::<(), Error>(10, || {
                spend(5)?;
                let nothing: &[u8] = &[];
                nothing.first().map(drop).expect("there is one");
                Ok(())
            });
            let words = inside.unwrap_err().to_string();
            assert!(words.contains("language panicked: there is one"), "{words}");
            spend(1_000)
        })
        .unwrap();
    }
}
