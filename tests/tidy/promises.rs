//! The number of the promise that a test bears in its name.

/// Yields that number, if it bears one.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    let (number, _) = name.strip_prefix('i')?.split_once('_')?;
    number.parse().ok()
}
