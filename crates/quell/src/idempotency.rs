//! [`IdempotencyKey`]: the same key with the same payload means the same run.

use std::fmt;
use std::sync::Arc;

use quell_core::store::ClaimedKey;
use sha2::{Digest, Sha256};

/// An idempotency key with the payload that it stands for.
///
/// A run that is submitted with one claims it for its owner
/// ([`RunSpec::idempotency_key`](crate::RunSpec::idempotency_key)). Of the payload only a SHA-256
/// is kept, which is the same in every process.
///
/// # Examples
///
/// ```
/// use quell::IdempotencyKey;
///
/// let key = IdempotencyKey::new("order-7", ["/v1/runs", r#"{"input":1}"#]);
/// assert_eq!(key, IdempotencyKey::new("order-7", ["/v1/runs", r#"{"input":1}"#]));
/// assert_ne!(key, IdempotencyKey::new("order-7", ["/v1/runs", r#"{"input":2}"#]));
/// // Where one part ends and the next begins counts.
/// assert_ne!(key, IdempotencyKey::new("order-7", [r#"/v1/runs{"input":1}"#, ""]));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use = "it does nothing until it is part of a spec"]
pub struct IdempotencyKey {
    key: Arc<str>,
    payload: [u8; 32],
}

impl IdempotencyKey {
    /// Names the key, and the parts of the payload: whatever has to be the same for two requests to
    /// be one, as the path and the body. The key has at most 256 bytes; a longer one is refused at
    /// submit.
    ///
    /// Hashes the parts before it returns: some milliseconds for each MiB without instructions for
    /// SHA-256, and parts have no bound here. An async caller with large ones calls it on a thread
    /// that may block.
    pub fn new<P: AsRef<[u8]>>(
        key: impl Into<Arc<str>>,
        parts: impl IntoIterator<Item = P>,
    ) -> Self {
        Self { key: key.into(), payload: digest(parts) }
    }

    /// Yields the text of the key.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// Yields the key as a store has it.
    pub(crate) fn of_store(claimed: &ClaimedKey) -> Self {
        Self { key: Arc::clone(&claimed.key), payload: claimed.payload }
    }

    pub(crate) const fn text(&self) -> &Arc<str> {
        &self.key
    }

    /// Yields the SHA-256 of the payload.
    pub const fn payload(&self) -> [u8; 32] {
        self.payload
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Hashes parts, each with its length before it: so "ab", "c" is not "a", "bc".
pub(crate) fn digest<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As another process, another machine and another release have it.
    #[test]
    fn a_digest_is_the_same_everywhere() {
        let hex = |bytes: [u8; 32]| bytes.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex(digest(["a", "bc"])), DIGEST);
        assert_ne!(hex(digest(["ab", "c"])), DIGEST);
        assert_ne!(hex(digest(["a", "bc", ""])), DIGEST);
    }

    /// Of the bytes `0100000000000000 61 0200000000000000 6263`.
    const DIGEST: &str = "9a8acca1b6c6c0befd3fbc756aed625da998c998f7252e738c4ef061906b9b21";
}
