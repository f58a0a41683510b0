//! [`read`] makes a value of a partial output where the type of the value holds any.

use std::any::{Any, TypeId};

use quell::Payload;
use serde_json::Value;

/// Reads a partial output as a payload or a JSON value, if that is what a `T` is.
pub(super) fn read<T: 'static>(payload: Payload) -> Option<T> {
    if TypeId::of::<T>() == TypeId::of::<Value>() {
        return as_a(&mut payload.parse::<Value>().ok());
    }
    as_a(&mut Some(payload))
}

/// Takes the value, if it is a `T`.
fn as_a<T: 'static>(value: &mut dyn Any) -> Option<T> {
    value.downcast_mut::<Option<T>>()?.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_output_is_read_as_a_type_that_holds_any() {
        let json = |text: &str| Payload::from_json_text(text).expect("JSON");
        assert_eq!(read::<Payload>(json("[1e400]")), Some(json("[1e400]")));
        assert_eq!(read::<Value>(json("[1]")), Some(serde_json::json!([1])));
        assert_eq!(read::<Value>(json("1e400")), None, "no value can hold it");
        assert_eq!((read::<String>(json("\"a\"")), read::<u32>(json("1"))), (None, None));
    }
}
