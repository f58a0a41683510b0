//! [`Retry`]: attempts that never overlap, and never outlive a stop.
//!
//! Attempts are runs of kind `attempt`, children of the run that is retried. The next one starts
//! when the last is quiescent; or abandoned, in which case it is terminal, so that whatever it
//! still writes is refused, and the next one says so in a label (I19). A stop of the run that is
//! retried, also between two attempts, ends it at once (I20). An attempt that is stopped alone is
//! not tried again (I5), unless by the retry's own timeout for attempts.

mod after;
mod attempts;
mod backoff;
mod options;

pub use after::RetryAfter;
pub use attempts::{ABANDONED_ATTEMPTS, Attempt, attempt_number};
pub use backoff::Backoff;
pub use options::Retry;
