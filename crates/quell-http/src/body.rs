//! [`Upload`]: reads the bodies of requests, within bounds of size and time, and parses large ones
//! away from the threads of HTTP.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::counted::Counted;
use crate::ledger::{Charge, Overdrawn};
use crate::service::View;

/// The largest body of a request. A larger one is answered 413.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// The body of a request. Its bytes count as under way for its caller until this value and every
/// clone of the bytes are dropped: work that reads them goes on after the client has left.
#[derive(Debug)]
#[must_use = "dropped, it does not count any more"]
pub struct Upload {
    bytes: Bytes,
}

impl Upload {
    /// Yields the bytes. Values that are parsed from them are not counted: drop the upload only
    /// when those are dropped or counted elsewhere.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Why the body of a request was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must name a new reason")]
pub enum BodyError {
    /// The body is larger than [`BODY_BYTES_MAX`]: 413.
    #[error("request body is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// The body did not arrive in time: 408.
    #[error("request body did not arrive in time")]
    TooSlow,
    /// The client went away, or broke the protocol: 400.
    #[error("request body could not be read")]
    Broken,
    /// Too many bytes are under way, of all callers or of this one: 429.
    #[error(transparent)]
    Overdrawn(#[from] Overdrawn),
}

impl View {
    /// Reads the body of a request of the principal, at most [`BODY_BYTES_MAX`] of it, and within
    /// what may be under way ([`ServiceLimits::requests_bytes_max`](crate::ServiceLimits)).
    ///
    /// Only bytes that have arrived count, not those that `Content-Length` announces: a client that
    /// sends nothing takes no room from others. A body of at most 16 KiB, as those of cancels are,
    /// does not count and is never refused because of others.
    ///
    /// A body that announces more than is allowed, or than there is room for, is refused unread. A
    /// client has half a minute to send its body, and a second more for every 512 KiB that have
    /// arrived: one that sends a byte now and then does not hold its connection for ever.
    ///
    /// # Errors
    ///
    /// Fails if it is too large or too slow, breaks off, or too much is under way.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, it loses what it has read.
    pub async fn read_body(&self, headers: &HeaderMap, body: Body) -> Result<Upload, BodyError> {
        let ledger = &self.service().shared().requests;
        read_body(headers, body, ledger.charge(self.principal().owner(), 0)?).await
    }

    /// Reads a body as [`View::read_body`] does, and parses it: on this task if it is small,
    /// otherwise as [`offload_if_large`] does. Keep the upload for as long as the parsed value is
    /// in use.
    ///
    /// It is not an extractor of axum: what a contract checks before the body differs, and a
    /// request that fails there is refused unread.
    ///
    /// # Errors
    ///
    /// Fails as [`View::read_body`], in the contract's form, and as `parse` does.
    ///
    /// # Cancel safety
    ///
    /// As [`View::read_body`] and [`offload_if_large`].
    pub async fn parse_body<T, E, F>(
        &self,
        headers: &HeaderMap,
        body: Body,
        parse: impl FnOnce(Bytes) -> F,
    ) -> Result<(T, Upload), E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<BodyError> + Send + 'static,
    {
        let upload = self.read_body(headers, body).await?;
        let parse = parse(upload.bytes().clone());
        let parsed = offload_if_large(upload.bytes().len(), parse).await??;
        Ok((parsed, upload))
    }
}

async fn read_body(
    headers: &HeaderMap,
    mut body: Body,
    mut charge: Charge,
) -> Result<Upload, BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    if announced > BODY_BYTES_MAX {
        return Err(BodyError::TooLarge);
    }
    // Refuse early what there is no room for, but keep the room for bytes that have arrived.
    charge.grow(counted(announced))?;
    charge.shrink_to(0);
    let (since, mut read) = (Instant::now(), BytesMut::with_capacity(announced.min(ADVANCE)));
    loop {
        let more = u64::try_from(read.len() / BYTES_PER_SECOND_MIN).unwrap_or_default();
        let until = since + WITHIN + Duration::from_secs(more);
        let next = timeout_at(until, body.frame()).await.map_err(|_| BodyError::TooSlow)?;
        let Some(frame) = next else {
            charge.shrink_to(counted(read.len()));
            return Ok(Upload { bytes: Counted::new(read.freeze(), charge).into() });
        };
        let Ok(piece) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        let size = read.len() + piece.len();
        if size > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        if counted(size) > charge.bytes() {
            let soon = announced.clamp(size, size + ADVANCE);
            charge.grow(counted(soon) - charge.bytes())?;
        }
        read.extend_from_slice(&piece);
    }
}

/// Runs the work that a body makes: on this task if the body is small, otherwise on a thread of the
/// blocking pool, a few at a time, so that it delays no other request.
///
/// # Errors
///
/// Fails with [`BodyError::Broken`] if the work panics or the runtime shuts down.
///
/// # Cancel safety
///
/// Dropped, it leaves work that has begun on its thread to its end.
///
/// # Panics
///
/// Panics outside a tokio runtime.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let body = bytes::Bytes::from("[1, 2, 3]");
/// let work = async move { serde_json::from_slice::<Vec<u8>>(&body) };
/// assert_eq!(quell_http::offload_if_large(9, work).await.unwrap().unwrap(), [1, 2, 3]);
/// # });
/// ```
pub async fn offload_if_large<F>(body_bytes: usize, work: F) -> Result<F::Output, BodyError>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    if body_bytes <= OFFLOAD_BYTES_MIN {
        return Ok(work.await);
    }
    let permit = OFFLOAD_PERMITS.acquire().await.map_err(|_| BodyError::Broken)?;
    let runtime = Handle::current();
    let done = tokio::task::spawn_blocking(move || {
        let output = runtime.block_on(work);
        // Not earlier: also if the caller has gone, the thread was in use until here.
        drop(permit);
        output
    });
    done.await.map_err(|_| BodyError::Broken)
}

/// Yields how much counts as under way for a body of this size.
const fn counted(bytes: usize) -> usize {
    if bytes <= FREE_BYTES { 0 } else { bytes * COPIES }
}

/// Bodies up to this size do not count: the number of connections bounds them.
const FREE_BYTES: usize = 16 << 10;

/// How far the charge may be ahead of the bytes that have arrived: fewer calls of the ledger.
const ADVANCE: usize = 64 << 10;

/// Copies of a body in memory until its run has the input: the bytes as they arrived, the parsed
/// request, and the input itself.
const COPIES: usize = 3;

/// The time that every body has; large ones have more ([`BYTES_PER_SECOND_MIN`]).
const WITHIN: Duration = Duration::from_secs(30);

/// The lowest rate at which a large body may arrive.
const BYTES_PER_SECOND_MIN: usize = 512 << 10;

/// The work of bodies up to this size is done on the task of the request.
const OFFLOAD_BYTES_MIN: usize = 64 << 10;

/// Permits for work on large bodies. More at once would take the processors from other requests.
static OFFLOAD_PERMITS: Semaphore = Semaphore::const_new(2);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use futures::{StreamExt as _, stream};

    use crate::ledger::Ledger;

    use super::*;

    fn trickle(piece: &Bytes, pause: Duration) -> Body {
        let pieces = stream::unfold(piece.clone(), move |piece| async move {
            tokio::time::sleep(pause).await;
            Some((Ok::<_, Infallible>(piece.clone()), piece))
        });
        Body::from_stream(pieces)
    }

    fn never() -> Body {
        Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
    }

    fn length(bytes: usize) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, bytes.into())])
    }

    async fn fault(body: Body) -> Option<BodyError> {
        let ledger = Ledger::new("requests", 1 << 30, 100);
        read_body(&HeaderMap::new(), body, ledger.charge(None, 0).unwrap()).await.err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up_and_a_large_one_has_longer() {
        let since = Instant::now();
        let read = fault(trickle(&Bytes::from_static(b"x"), Duration::from_secs(10))).await;
        assert_eq!(read, Some(BodyError::TooSlow));
        assert_eq!(since.elapsed().as_secs(), WITHIN.as_secs());
        let since = Instant::now();
        let piece = Bytes::from(vec![0; 1 << 20]);
        // 1 MiB in 5 s: slower than the bound, so the time runs out before the size does.
        let read = fault(trickle(&piece, Duration::from_secs(5))).await;
        assert_eq!(read, Some(BodyError::TooSlow));
        assert!(since.elapsed() > WITHIN, "it had longer: {:?}", since.elapsed());
        let read = fault(trickle(&piece, Duration::from_secs(1))).await;
        assert_eq!(read, Some(BodyError::TooLarge));
    }

    #[tokio::test]
    async fn what_is_under_way_is_bounded_before_it_is_read() {
        let ledger = Ledger::new("requests", 1_000_000, 25);
        let ada = Arc::from("ada");
        let of = |owner: Option<&Arc<str>>| ledger.charge(owner, 0).unwrap();
        let body = Body::from(vec![0; 50_000]);
        let held = read_body(&length(50_000), body, of(Some(&ada))).await.unwrap();
        assert_eq!((held.bytes().len(), ledger.total()), (50_000, 150_000));
        // Nothing of it arrives, and it is refused.
        let error = read_body(&length(50_000), never(), of(Some(&ada))).await.unwrap_err();
        let words = "requests of one caller would exceed the limit of 250000 bytes";
        assert_eq!(error.to_string(), words);
        // A body without a length is counted as it arrives.
        let pieces = stream::repeat(Ok::<_, Infallible>(Bytes::from(vec![0; 40_000])));
        let error = read_body(&HeaderMap::new(), Body::from_stream(pieces), of(None)).await;
        assert!(matches!(error, Err(BodyError::Overdrawn(it)) if it.max == 1_000_000));
        let body = Body::from(vec![0; 20_000]);
        assert!(read_body(&length(20_000), body, of(Some(&ada))).await.is_ok());
        drop(held);
        assert_eq!(ledger.total(), 0);
    }

    #[tokio::test]
    async fn what_is_announced_and_does_not_come_takes_nothing_from_others() {
        let ledger = Ledger::new("requests", 1_000_000, 25);
        let of = || ledger.charge(None, 0).unwrap();
        let headers = length(300_000);
        let mut silent: Vec<_> =
            (0..9).map(|_| Box::pin(read_body(&headers, never(), of()))).collect();
        for body in &mut silent {
            assert!(futures::poll!(body).is_pending());
        }
        assert_eq!(ledger.total(), 0);
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![0; 20_000]))]);
        let begun = Body::from_stream(first.chain(stream::pending()));
        let mut begun = Box::pin(read_body(&headers, begun, of()));
        assert!(futures::poll!(&mut begun).is_pending());
        assert_eq!(ledger.total(), (20_000 + ADVANCE) * COPIES);
        let rest = ledger.charge(None, 1_000_000 - ledger.total()).unwrap();
        assert!(read_body(&length(20_000), never(), of()).await.is_err(), "all is held");
        let cancel = read_body(&length(4), Body::from("null"), of()).await;
        assert_eq!(cancel.unwrap().bytes(), "null");
        drop((silent, begun, rest));
        assert_eq!(ledger.total(), 0);
    }

    #[tokio::test]
    async fn a_body_counts_for_as_long_as_somebody_reads_it() {
        let ledger = Ledger::new("requests", 1_000_000, 25);
        let charge = ledger.charge(None, 0).unwrap();
        let upload = read_body(&length(50_000), Body::from(vec![0; 50_000]), charge).await;
        let read = upload.unwrap().bytes().clone();
        assert_eq!(
            (read.len(), ledger.total()),
            (50_000, 150_000),
            "its request has been given up"
        );
        drop(read);
        assert_eq!(ledger.total(), 0);
    }

    #[tokio::test]
    async fn the_work_of_a_large_body_is_done_on_another_thread() {
        let here = std::thread::current().id();
        let work = || async { std::thread::current().id() };
        assert_eq!(offload_if_large(OFFLOAD_BYTES_MIN, work()).await, Ok(here));
        assert_ne!(offload_if_large(OFFLOAD_BYTES_MIN + 1, work()).await, Ok(here));
    }
}
