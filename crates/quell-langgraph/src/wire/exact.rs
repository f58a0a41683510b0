//! [`Keys`]: JSON whose numbers keep every digit, because text is written as it is spelt. Only a
//! number that is not finite as a double is replaced: the Python SDK refuses a whole answer with
//! one.

use std::collections::BTreeMap;
use std::iter::from_fn;
use std::ops::Range;

use quell::Payload;
use serde::Serialize;
use serde_json::Value;

/// The keys of an object, each value as it is spelt.
pub(crate) type Keys = BTreeMap<String, Payload>;

/// Writes a value whose keys are texts.
pub(crate) fn written(value: &(impl Serialize + ?Sized)) -> Payload {
    Payload::json(value).unwrap_or_else(|_| null())
}

/// Writes an object with one more key.
pub(crate) fn with(object: Value, key: &str, value: &(impl Serialize + ?Sized)) -> Payload {
    with_all(object, Keys::from([(key.to_owned(), written(value))]))
}

/// Writes an object with more keys.
pub(crate) fn with_all(object: Value, more: Keys) -> Payload {
    let mut all = Keys::new();
    if let Value::Object(object) = object {
        all.extend(object.into_iter().map(|(key, value)| (key, Payload::from(value))));
    }
    all.extend(more);
    written(&all)
}

pub(crate) fn null() -> Payload {
    Payload::from(Value::Null)
}

/// Finds the first number of a JSON text that is not finite as a double.
pub(crate) fn infinite(json: &str) -> Option<&str> {
    infinites(json).next().and_then(|at| json.get(at))
}

/// Yields what a body said, with null for each number that is not finite as a double: so upstream
/// writes them.
pub(crate) fn finite(said: &Payload) -> Payload {
    let json = said.as_json();
    let (mut out, mut done) = (String::new(), 0);
    for at in infinites(json) {
        out.push_str(&json[done..at.start]);
        out.push_str("null");
        done = at.end;
    }
    if done == 0 {
        return said.clone();
    }
    out.push_str(&json[done..]);
    Payload::from_json_text(&out).unwrap_or_else(|_| null())
}

/// Yields where the numbers of a JSON text are that are not finite as a double.
fn infinites(json: &str) -> impl Iterator<Item = Range<usize>> {
    let (bytes, mut at) = (json.as_bytes(), 0);
    let length = |from: usize, is_in: fn(u8) -> bool| {
        bytes[from..].iter().take_while(|byte| is_in(**byte)).count()
    };
    from_fn(move || {
        while let Some(first) = bytes.get(at) {
            let start = at;
            match first {
                b'"' => at = text_end(bytes, at + 1),
                b'-' | b'0'..=b'9' => {
                    at += length(at, is_of_number);
                    if is_infinite(&json[start..at]) {
                        return Some(start..at);
                    }
                }
                _ => at += 1,
            }
        }
        None
    })
}

/// Yields where a text ends whose first quote is read.
fn text_end(json: &[u8], mut at: usize) -> usize {
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

const fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

fn is_infinite(number: &str) -> bool {
    let may_be = number.len() > DIGITS_MAX || number.contains(['e', 'E']);
    may_be && !number.parse::<f64>().is_ok_and(f64::is_finite)
}

/// A whole number of so many digits is finite as a double.
const DIGITS_MAX: usize = 308;

#[cfg(test)]
mod tests {
    use super::*;

    /// As `orjson` 3.13.0 answers, with which upstream reads requests and its SDK answers.
    #[test]
    fn a_number_is_finite_if_the_reader_of_the_official_client_takes_it() {
        let long = |digits: usize| "9".repeat(digits);
        let taken = [
            "0",
            "-0",
            "18446744073709551616",
            "-9223372036854775809",
            "1e-400",
            "0e999",
            "0.0e99999999999999999999",
            "1e308",
            "1E+308",
            "1.79769313486231580793e308",
            &long(308),
            &format!("{}e-200", long(400)),
            &format!("0.{}", long(800)),
            &format!("0.{}1e500", "0".repeat(400)),
            "1e-99999999999999999999",
        ];
        let refused = [
            "1e400",
            "-1e400",
            "1e309",
            "1.7976931348623159e308",
            "1e99999999999999999999",
            &long(309),
            &format!("-{}", long(400)),
            &format!("{}.5", long(400)),
        ];
        for number in taken {
            assert_eq!(infinite(number), None, "{number}");
        }
        for number in refused {
            for json in [number.to_owned(), format!(r#"["1e400\\",{{"\"1e400":{number}}}]"#)] {
                assert_eq!(infinite(&json), Some(number), "{json}");
            }
        }
    }

    #[test]
    fn null_stands_for_each_number_that_is_not_finite_and_nothing_else_is_changed() {
        let said = r#"{"1e400": [1.50, 1e400,-1e999 , "\\\"1e400", 0.1000], "z": 1e400}"#;
        let shown = r#"{"1e400": [1.50, null,null , "\\\"1e400", 0.1000], "z": null}"#;
        assert_eq!(finite(&Payload::from_json_text(said).unwrap()).as_json(), shown);
        assert!(finite(&Payload::from_json_text("1e400").unwrap()).is_null());
        let same = Payload::from_json_text(shown).unwrap();
        assert_eq!(finite(&same).as_json().as_ptr(), same.as_json().as_ptr());
    }
}
