//! [`Millis`]: a duration of a request, a whole number of milliseconds in any spelling of JSON.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::limits::TIME_MAX;

/// A time in milliseconds: a whole number from zero, `3566.0` and `1e30` as well. More than a year
/// is a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Millis(Duration);

impl Millis {
    pub(crate) const fn time(self) -> Duration {
        self.0
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Millis;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of milliseconds, from 0")
            }

            fn visit_u64<E: Error>(self, ms: u64) -> Result<Millis, E> {
                Ok(Millis(Duration::from_millis(ms).min(TIME_MAX)))
            }

            fn visit_i64<E: Error>(self, ms: i64) -> Result<Millis, E> {
                match u64::try_from(ms) {
                    Ok(ms) => self.visit_u64(ms),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(ms), &self)),
                }
            }

            fn visit_f64<E: Error>(self, ms: f64) -> Result<Millis, E> {
                if ms < 0.0 || ms.fract() != 0.0 {
                    return Err(E::invalid_value(Unexpected::Float(ms), &self));
                }
                // A whole number as text; one that is too large for a time is a long time.
                self.visit_u64(format!("{ms:.0}").parse().unwrap_or(if ms > 1.0 {
                    u64::MAX
                } else {
                    0
                }))
            }
        }

        from.deserialize_any(Number)
    }
}

impl PartialSchema for Millis {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).into()
    }
}

impl ToSchema for Millis {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_whole_number_however_it_is_written() {
        let read = |text: &str| serde_json::from_str::<Millis>(text).map(Millis::time).ok();
        let ms = |ms| Some(Duration::from_millis(ms));
        let table = [
            ("0", ms(0)),
            ("3566", ms(3566)),
            ("3566.0", ms(3566)),
            ("1e3", ms(1_000)),
            ("-0.0", ms(0)),
            ("9223372036854775808", Some(TIME_MAX)),
            ("18446744073709551616", Some(TIME_MAX)),
            ("1e300", Some(TIME_MAX)),
            ("-1", None),
            ("0.5", None),
            ("\"1\"", None),
            ("true", None),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
