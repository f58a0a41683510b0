//! Deliberate faults, to see the tests of the promises fail (`--cfg quell_mutation`).
//!
//! Each breaks one promise at the place that keeps it. The list with the test that each must make
//! fail is in `tests/mutations.rs`; in every other build a fault is `false` at compile time.

/// Tells whether the named fault is on: the one in the environment variable `QUELL_MUTATION`.
#[cfg(quell_mutation)]
pub(crate) fn on(fault: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("QUELL_MUTATION").ok()).as_deref() == Some(fault)
}

/// Tells that no fault is on.
#[cfg(not(quell_mutation))]
pub(crate) const fn on(_fault: &str) -> bool {
    false
}
