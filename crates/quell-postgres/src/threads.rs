//! [`Sessions`]: the thread that drives the sessions of a store, but for that of its writer.

use quell_core::store::StoreError;
use tokio::runtime::{Handle, Runtime};

/// The thread that drives sessions. It ends without anybody waiting for it, so that a store may be
/// dropped wherever it is.
pub(crate) struct Sessions(Option<Runtime>);

impl Sessions {
    pub(crate) fn start() -> Result<Self, StoreError> {
        let built = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("quell-postgres")
            .enable_all()
            .build();
        built.map(|runtime| Self(Some(runtime))).map_err(|error| no_thread(&error))
    }

    pub(crate) fn handle(&self) -> Handle {
        #[expect(clippy::expect_used, reason = "it is taken when this is dropped")]
        self.0.as_ref().expect("it runs until it is dropped").handle().clone()
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Makes what drives the session of the one that writes, while that waits for it.
///
/// # Errors
///
/// Fails if the system gives no descriptor.
pub(crate) fn own_runtime() -> Result<Runtime, StoreError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| no_thread(&error))
}

/// Says that the system gives no thread.
pub(crate) fn no_thread(error: &std::io::Error) -> StoreError {
    StoreError::Io { what: format!("no thread for the store: {error}") }
}
