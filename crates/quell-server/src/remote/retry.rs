//! [`Tries`]: how often a request is sent again, and when.

use std::time::{Duration, SystemTime};

use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, StatusCode};

/// The tries of a request that are left.
#[derive(Debug)]
pub(super) struct Tries {
    left: u32,
    pause: Duration,
}

impl Tries {
    pub(super) const fn new(retries: u32) -> Self {
        Self { left: retries, pause: PAUSE }
    }

    /// Yields how long to wait before the next one; none if none is left. Without a time that the
    /// service has asked for it is a time that doubles.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        Some(asked.unwrap_or(pause))
    }
}

/// Yields how long the service asks to wait, if it refuses for now: 429 or 503 with `Retry-After`,
/// in seconds or as a date.
pub(super) fn asked_wait(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The longest time that a service may ask to wait; what asks for more is not asked again.
pub(super) const WAIT_MAX: Duration = Duration::from_mins(1);

/// The wait before the second try, and the longest one.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn asked(status: u16, after: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(after).expect("a value"));
        asked_wait(StatusCode::from_u16(status).expect("a status"), &headers)
    }

    #[test]
    fn a_refusal_says_how_long_to_wait_in_seconds_or_as_a_date() {
        assert_eq!(asked(429, "7"), Some(Duration::from_secs(7)));
        assert_eq!(asked(503, " 0 "), Some(Duration::ZERO));
        assert_eq!(asked(503, "Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let hour = SystemTime::now() + Duration::from_hours(1);
        let wait = asked(429, &httpdate::fmt_http_date(hour)).expect("a date");
        assert!(wait > Duration::from_mins(50) && wait <= Duration::from_hours(1), "{wait:?}");
        for (status, after) in [(500, "7"), (200, "7"), (429, "soon"), (429, "-1")] {
            assert_eq!(asked(status, after), None, "{status} {after}");
        }
    }

    #[test]
    fn waits_double_up_to_a_bound_and_end() {
        let mut tries = Tries::new(7);
        let waits: Vec<_> = std::iter::from_fn(|| tries.next(None)).collect();
        let millis: Vec<_> = waits.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(Tries::new(1).next(Some(Duration::ZERO)), Some(Duration::ZERO));
        assert_eq!(Tries::new(0).next(None), None);
    }
}
