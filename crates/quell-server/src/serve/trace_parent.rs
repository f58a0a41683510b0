//! [`TraceParent`]: the trace that a request belongs to, as its caller says it.

use axum::http::HeaderMap;

/// What the header `traceparent` of W3C's trace context says: the id of the trace, and that of the
/// caller's span in it, and whether that one is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceParent<'a> {
    pub(super) trace: &'a str,
    pub(super) parent: &'a str,
    pub(super) is_sampled: bool,
}

impl<'a> TraceParent<'a> {
    /// Reads it from the headers of a request. One that is not as the recommendation has it, or is
    /// there twice, counts as not there: the request is served all the same.
    pub(super) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut all = headers.get_all("traceparent").iter();
        let (first, None) = (all.next()?, all.next()) else { return None };
        Self::read(first.to_str().ok()?)
    }

    fn read(text: &'a str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let [version, trace, parent, flags] = [(); 4].map(|()| parts.next().unwrap_or_default());
        let is_of = |part: &str, length: usize| {
            let is_hex = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
            part.len() == length && part.bytes().all(is_hex)
        };
        let is_hex = is_of(version, 2) && is_of(trace, 32) && is_of(parent, 16) && is_of(flags, 2);
        let is_zero = |part: &str| part.bytes().all(|it| it == b'0');
        // Later versions may say more behind that.
        let may_follow = rest.is_empty() || version != "00" && rest.starts_with('-');
        let is_right = is_hex && version != "ff" && !is_zero(trace) && !is_zero(parent);
        // The lowest of the bits, and so of those of the last digit.
        let is_sampled = flags.bytes().last().is_some_and(|it| b"13579bdf".contains(&it));
        let is_read = is_right && may_follow && text.len() <= BYTES_MAX;
        is_read.then_some(Self { trace, parent, is_sampled })
    }
}

/// The length of what every version begins with.
const LENGTH: usize = 55;

/// The longest header that is read.
const BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn what_is_not_as_the_recommendation_has_it_is_not_there() {
        let of = |is_sampled| Some(TraceParent { trace: TRACE, parent: PARENT, is_sampled });
        let right = of(true);
        let (zeros, upper) = ("0".repeat(32), TRACE.to_ascii_uppercase());
        for (text, expected) in [
            (format!("00-{TRACE}-{PARENT}-01"), right),
            (format!("00-{TRACE}-{PARENT}-00"), of(false)),
            (format!("00-{TRACE}-{PARENT}-0b"), right),
            (format!("00-{TRACE}-{PARENT}-1a"), of(false)),
            (format!("cc-{TRACE}-{PARENT}-01-what-comes-later"), right),
            (format!("cc-{TRACE}-{PARENT}-01"), right),
            (format!("cc-{TRACE}-{PARENT}-01."), None),
            (format!("00-{TRACE}-{PARENT}-01-more"), None),
            (format!("ff-{TRACE}-{PARENT}-01"), None),
            (format!("00-{zeros}-{PARENT}-01"), None),
            (format!("00-{TRACE}-{}-01", &zeros[..16]), None),
            (format!("00-{upper}-{PARENT}-01"), None),
            (format!("00-{TRACE}-{PARENT}-0x"), None),
            (format!("00-{TRACE}-{PARENT}"), None),
            (format!("0-{TRACE}0-{PARENT}-01"), None),
            (format!("cc-{TRACE}-{PARENT}-01-{}", "x".repeat(BYTES_MAX)), None),
            (String::new(), None),
        ] {
            assert_eq!(TraceParent::read(&text), expected, "{text}");
        }
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("00-{TRACE}-{PARENT}-01")).expect("ASCII");
        headers.append("traceparent", value.clone());
        assert_eq!(TraceParent::of(&headers), right);
        headers.append("traceparent", value);
        assert_eq!(TraceParent::of(&headers), None, "which of the two?");
        headers.insert("traceparent", HeaderValue::from_bytes(b"00-\xe4").expect("opaque"));
        assert_eq!(TraceParent::of(&headers), None);
    }
}
