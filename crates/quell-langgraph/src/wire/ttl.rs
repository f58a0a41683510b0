//! [`Ttl`]: how long a thread is to be there (contract, section 4).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quell::Payload;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::wire::asked::micros;
use crate::wire::create::{choice, given, typed};
use crate::wire::exact::{Keys, with};
use crate::wire::refusal::Refusal;
use crate::wire::rows::time;

/// How long a thread is to be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ttl {
    /// The minutes, as they are spelt.
    minutes: Payload,
    strategy: String,
    /// Microseconds since 1970.
    expires_us: u64,
}

impl Ttl {
    /// Reads what a body gives, from now on: an object, or minutes alone. None is given: none.
    pub(crate) fn read(body: &Keys, now: SystemTime) -> Result<Option<Self>, Refusal> {
        let Some(ttl) = given(body, "ttl") else { return Ok(None) };
        let refusal = || Refusal::invalid(format!("ttl: {EXPECTED}"));
        let keys = if ttl.as_json().starts_with('{') {
            object_of(ttl).ok_or_else(refusal)?
        } else {
            Keys::from([("ttl".to_owned(), ttl.clone())])
        };
        let strategy = choice(&keys, "strategy", [DELETE, "keep_latest"]);
        let strategy = strategy
            .map_err(|_| Refusal::invalid("ttl.strategy: must be one of delete, keep_latest"))?;
        let minutes: f64 = typed(&keys, "ttl", EXPECTED)?.ok_or_else(refusal)?;
        let time = Duration::try_from_secs_f64(minutes * 60.0).ok();
        let time = time.filter(|time| !time.is_zero() && *time <= TTL_MAX).ok_or_else(refusal)?;
        let expires_us = micros(now + time).ok_or_else(refusal)?;
        let minutes = given(&keys, "ttl").cloned().ok_or_else(refusal)?;
        Ok(Some(Self { minutes, strategy: strategy.to_owned(), expires_us }))
    }

    /// When the thread is deleted; none if it is only shown.
    pub(crate) fn deletes_at(&self) -> Option<SystemTime> {
        (self.strategy == DELETE).then(|| self.expires_at())
    }

    fn expires_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.expires_us)
    }

    /// Writes it for the row of a thread.
    pub(crate) fn shown(&self) -> Payload {
        let rest = json!({ "strategy": self.strategy, "expires_at": time(self.expires_at()) });
        with(rest, "ttl_minutes", &self.minutes)
    }
}

fn object_of(ttl: &Payload) -> Option<Keys> {
    ttl.parse().ok()
}

const DELETE: &str = "delete";
const EXPECTED: &str = "must be an object with a number of minutes under ttl, ten years at most";

/// The longest one. A longer one is refused.
const TTL_MAX: Duration = Duration::from_hours(10 * 366 * 24);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(ttl: Value) -> Result<Option<Ttl>, Refusal> {
        Ttl::read(&Keys::from([("ttl".to_owned(), ttl.into())]), UNIX_EPOCH)
    }

    #[test]
    fn a_time_is_an_object_or_minutes_and_shown_as_it_is_spelt() {
        assert_eq!(read(Value::Null).unwrap(), None);
        for ttl in [json!(1.5), json!({ "ttl": 1.5 }), json!({ "ttl": 1.5, "strategy": "delete" })]
        {
            let ttl = read(ttl).unwrap().unwrap();
            assert_eq!(ttl.deletes_at(), Some(UNIX_EPOCH + Duration::from_secs(90)));
            let shown: Value = ttl.shown().parse().unwrap();
            assert_eq!(shown["ttl_minutes"], 1.5);
            assert_eq!(shown["expires_at"], "1970-01-01T00:01:30.000000+00:00");
        }
        let kept = read(json!({ "ttl": 1, "strategy": "keep_latest" })).unwrap().unwrap();
        assert_eq!(kept.deletes_at(), None);
        let bad = [
            json!("x"),
            json!({}),
            json!({ "ttl": "1" }),
            json!({ "ttl": 0 }),
            json!(-1),
            json!(1e300),
            json!({ "ttl": 1, "strategy": "x" }),
        ];
        for bad in bad {
            let refusal = read(bad.clone()).unwrap_err();
            assert!(refusal.status == 422 && refusal.detail.starts_with("ttl"), "{bad}");
        }
    }
}
