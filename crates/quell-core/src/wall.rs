//! How an instant of the wall clock is written: RFC 3339 in UTC with milliseconds.

use std::time::SystemTime;

use serde::Deserialize as _;

pub(crate) fn serialize<S: serde::Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_rfc3339_millis(*at))
}

pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)
}

/// The same for an instant that may be absent.
pub(crate) mod option {
    use std::time::SystemTime;

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(crate) fn serialize<S: serde::Serializer>(
        at: &Option<SystemTime>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, to),
            None => to.serialize_none(),
        }
    }
}
