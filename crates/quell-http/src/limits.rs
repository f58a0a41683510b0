//! [`ServiceLimits`]: the bounds of a service.

use std::time::Duration;

/// The bounds of a service that an embedder may set. The bounds of the engine are
/// [`quell::Limits`]; the manual's table lists the fixed ones.
///
/// # Examples
///
/// ```
/// let mut limits = quell_http::ServiceLimits::default();
/// limits.requests_bytes_max = 64 << 20;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceLimits {
    /// Bytes of large requests and answers under way, of all callers. A body counts three times its
    /// arrived bytes until its run has started; an answer counts until the client has taken it.
    /// Bodies of at most 16 KiB and answers of at most 64 KiB do not count: connections bound them,
    /// and cancels and reads of a status are never refused because of others. Defaults to 256 MiB.
    /// A request beyond it is answered 429. Zero refuses all that count.
    pub requests_bytes_max: usize,
    /// Bytes that contracts keep for callers besides the engine: metadata and values of threads.
    /// Defaults to 256 MiB. More is answered 429. Zero keeps none. Half as much again is
    /// for the answers of deleted runs, which are kept for a minute; beyond it the oldest are
    /// dropped, except the last one.
    pub kept_bytes_max: usize,
    /// Bytes of transcripts, of live and of ended runs. Defaults to 256 MiB. The transcripts that
    /// ended first are dropped first; then those of live runs are cut, and marked so. Zero keeps
    /// none.
    pub transcripts_bytes_max: usize,
    /// Streams and waits for the end of a run, of all callers. Defaults to 7,500. One more is
    /// answered 429, before it has made anything. Zero refuses every one. It is separate from
    /// `long_requests_max` because every caller has a share of it, and the caller is known only
    /// after the contract has checked the credentials.
    pub streams_max: usize,
    /// Requests that hold their connection for long, at once: streams, waits and starts. Each takes
    /// a permit by [`Service::long_request_permit`](crate::Service::long_request_permit). Of a
    /// cancel only the wait needs one: if none is left, the run is cancelled and the answer does
    /// not wait. Defaults to no bound. Zero permits none: no cancel waits. It is separate from
    /// `streams_max` because a server has to keep connections free before it knows the caller, and
    /// because starts and waiting cancels, of which no caller has a share, hold connections too.
    pub long_requests_max: usize,
    /// The share of one owner, in percent, of each bound above except `long_requests_max`. Callers
    /// without a name have no share. Defaults to 25. Zero counts as 1, more than 100 as 100: the
    /// owner may use all.
    pub owner_share_percent: u8,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            requests_bytes_max: 256 << 20,
            kept_bytes_max: 256 << 20,
            transcripts_bytes_max: 256 << 20,
            streams_max: 7_500,
            long_requests_max: usize::MAX,
            owner_share_percent: quell::limits::OWNER_SHARE_PERCENT,
        }
    }
}

/// The longest duration that a caller may name. Much longer ones overflow `Instant`.
pub(crate) const TIME_MAX: Duration = Duration::from_hours(365 * 24);
