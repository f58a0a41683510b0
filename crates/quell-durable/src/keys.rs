//! Idempotency keys, as every durable store keeps them.

use quell_core::limits;

/// Yields an owner as a text that is there: nobody is another one than an owner without a name.
pub fn owner_text(owner: Option<&str>) -> String {
    owner.map_or_else(String::new, |owner| format!("={owner}"))
}

/// Yields for how many milliseconds the key of a run that left is kept.
pub fn key_ttl_ms() -> i64 {
    i64::try_from(limits::KEYS_TTL.as_millis()).unwrap_or(i64::MAX)
}
