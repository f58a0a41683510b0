//! The switch for deliberate faults. It exists in the instrumented copy only.

/// Tells whether the named fault is on: the one in the environment variable `QUELL_MUTATION`.
pub(crate) fn on(fault: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("QUELL_MUTATION").ok()).as_deref() == Some(fault)
}
