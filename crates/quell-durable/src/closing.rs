//! [`Closing`]: whether every thread of a store has ended, and who waits for that.

use parking_lot::Mutex;
use quell_core::store::StoreError;
use tokio::sync::oneshot;

use crate::foreign::catch_panic;

/// How a store closes.
#[derive(Debug, Default)]
pub struct Closing {
    /// No code of others runs under it: wakers run and are dropped when it is free.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// None while threads run.
    ended: Option<Result<(), StoreError>>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Closing {
    /// Waits until the threads have ended, and yields how.
    ///
    /// # Errors
    ///
    /// Fails as they have.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only waits.
    pub async fn wait(&self) -> Result<(), StoreError> {
        let (done, is_done) = oneshot::channel();
        let given_up: Vec<_> = {
            let mut state = self.state.lock();
            if let Some(ended) = &state.ended {
                return ended.clone();
            }
            let given_up = state.waiting.extract_if(.., |waiting| waiting.is_closed()).collect();
            state.waiting.push(done);
            given_up
        };
        drop(given_up);
        // It is never dropped unsent.
        let _ = is_done.await;
        self.state.lock().ended.clone().unwrap_or(Ok(()))
    }

    /// Says that the threads have ended.
    pub fn end(&self, how: Result<(), StoreError>) {
        let waiting = {
            let mut state = self.state.lock();
            state.ended = Some(how);
            std::mem::take(&mut state.waiting)
        };
        for waiting in waiting {
            // Others are told although the waker of one panics.
            catch_panic(|| waiting.send(()));
        }
    }
}
