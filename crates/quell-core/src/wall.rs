//! How an instant of the wall clock is written: RFC 3339 in UTC with milliseconds.
//!
//! An instant before 1970 is written as the begin of 1970, one after 9999 as the end of 9999: the
//! format has no others, and a clock that is wrong must not fail what is written.

use std::time::{Duration, SystemTime};

use serde::Deserialize as _;

pub(crate) fn serialize<S: serde::Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    let at = (*at).clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LAST);
    to.collect_str(&humantime::format_rfc3339_millis(at))
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

    use serde::Deserialize as _;

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

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let at = text.map(|text| humantime::parse_rfc3339(&text)).transpose();
        at.map_err(serde::de::Error::custom)
    }
}

/// The last millisecond of the year 9999.
const LAST: Duration = Duration::from_millis(253_402_300_799_999);
