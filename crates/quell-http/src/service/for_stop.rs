//! [`View::for_stop`]: bounds the cancels that wait for a slow store.
//!
//! A stop of a run that is here is in effect at once, and its answer waits until the store has it;
//! for one that is not here the store is asked first. Where the store is slow each of them holds
//! its connection, and those who ask again and again would take all, so that another one's stop
//! finds none. So they wait for as long as most reads take, and then only so many at once.

use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::timeout;

use crate::long_requests::LongRequestPermit;
use crate::lookup_error::LookupError;
use crate::service::service::Service;
use crate::service::view::View;

impl View {
    /// Waits for what a stop asks of the store. After a second it goes on only while few others
    /// wait for so long: a twelfth of
    /// [`long_requests_max`](crate::ServiceLimits::long_requests_max), besides those.
    ///
    /// # Errors
    ///
    /// Fails with what is asked, and as a read of a store in trouble if there are too many.
    ///
    /// # Cancel safety
    ///
    /// As what is asked. That is dropped if there are too many.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(view: &quell_http::View) -> Result<(), quell_http::LookupError> {
    /// use quell::RunId;
    ///
    /// let found = view.for_stop(view.find_by_id(RunId::from_text("order-7"))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn for_stop<T, E: From<LookupError>>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        SlowStop::new(self.service()).wait(asked).await
    }
}

/// One request to stop, of however many runs: they wait in one place.
pub(super) struct SlowStop<'a> {
    service: &'a Service,
    /// Its place, once it has waited for long; none if there was none left.
    place: OnceLock<Option<LongRequestPermit>>,
}

impl<'a> SlowStop<'a> {
    pub(super) const fn new(service: &'a Service) -> Self {
        Self { service, place: OnceLock::new() }
    }

    pub(super) async fn wait<T, E: From<LookupError>>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut asked = pin!(asked);
        if let Ok(answer) = timeout(SOON, asked.as_mut()).await {
            return answer;
        }
        match self.place.get_or_init(|| self.service.shared().slow_stops.try_acquire()) {
            Some(_) => asked.await,
            None => Err(LookupError::Unavailable.into()),
        }
    }
}

/// For how long every stop may wait for the store.
const SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use quell::Engine;
    use quell_flow::Catalog;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{NATIVE, Principal, Service, ServiceLimits};

    #[tokio::test(start_paused = true)]
    async fn of_stops_whose_store_is_slow_so_many_wait_at_once() {
        let limits = ServiceLimits { long_requests_max: 12, ..ServiceLimits::default() };
        let service = Service::new(Engine::new(), Catalog::new()).limits(limits);
        let view = service.view(NATIVE, Principal::anonymous());
        let slow = async |time: Duration| {
            view.for_stop(async {
                sleep(time).await;
                Ok::<_, LookupError>(())
            })
            .await
        };
        let begun = Instant::now();
        let told = tokio::join!(slow(SOON / 2), slow(SOON * 9), slow(SOON * 9), slow(SOON / 2));
        assert_eq!((&told.0, &told.3), (&Ok(()), &Ok(())));
        let late = [told.1, told.2];
        assert!(late.contains(&Ok(())) && late.contains(&Err(LookupError::Unavailable)));
        assert_eq!(begun.elapsed(), SOON * 9);
        let never = view.for_stop(pending::<Result<(), LookupError>>());
        assert!(timeout(SOON * 99, never).await.is_err());
        assert!(slow(SOON * 2).await.is_ok(), "there is a place again");
        // One that stops many has one.
        let many = SlowStop::new(&service);
        let each = || {
            many.wait(async {
                sleep(SOON * 2).await;
                Ok::<_, LookupError>(())
            })
        };
        assert_eq!(tokio::join!(each(), each(), each()), (Ok(()), Ok(()), Ok(())));
    }
}
