//! [`ServiceLimits`]: the bounds of a service.

/// The bounds of a service that an embedder may move. Those of the engine are
/// [`quell::Limits`]; the manual's table lists the others.
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
    /// Bytes of large requests and answers under way, of all callers: three times what has come of
    /// a body, until its run has started; an answer until the client has taken it. Bodies of at
    /// most 16 KiB and answers of at most 64 KiB do not count: connections bound them, and
    /// cancels and reads of a status are never refused because of others. Defaults to 256 MiB. One
    /// more is answered 429. Zero refuses all that count.
    pub requests_bytes_max: usize,
    /// Bytes that contracts keep for callers besides the engine: metadata, parsed inputs, values of
    /// threads. Defaults to 256 MiB. More is answered 429. Zero keeps none. Half as much again
    /// holds the answers of runs that were deleted, for a minute; beyond it the oldest leave, but
    /// for the last one.
    pub kept_bytes_max: usize,
    /// Bytes of what runs have said, live and ended. Defaults to 256 MiB. The oldest ended ones
    /// leave first; then what a live run says is cut, and said to be. Zero keeps none.
    pub notes_bytes_max: usize,
    /// Streams and waits for the end of a run under way, of all callers. Defaults to 7,500. One
    /// more is answered 429, before it has made anything. Zero refuses every one. It is a bound of
    /// its own, besides `long_requests_max`, because every caller has a share of it, and who
    /// calls is known only when the contract has checked it.
    pub streams_max: usize,
    /// Requests that hold their connection for long, at once: streams, waits and starts. They take
    /// their places by [`Service::long_place`](crate::Service::long_place). Of a cancel only the
    /// wait needs one: if none is left, the stop is asked for all the same, and the answer says at
    /// once what there is. Defaults to no bound. Zero leaves no place: no cancel waits. It is a
    /// bound of its own, besides `streams_max`, because a server has to keep connections free
    /// before it knows who calls, and from starts and cancels that wait as well, of which no
    /// caller has a share.
    pub long_requests_max: usize,
    /// What one owner may use of each of these but `long_requests_max`, of the remembered stops
    /// and of the idempotency keys, in percent; callers without a name have no share. Defaults to
    /// 25. Zero counts as 1, more than 100 as 100: no bound of its own.
    pub owner_share_percent: u8,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            requests_bytes_max: 256 << 20,
            kept_bytes_max: 256 << 20,
            notes_bytes_max: 256 << 20,
            streams_max: 7_500,
            long_requests_max: usize::MAX,
            owner_share_percent: quell::limits::OWNER_SHARE_PERCENT,
        }
    }
}
