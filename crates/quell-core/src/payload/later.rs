//! Text that is written when somebody first reads it, by code that is not ours.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use serde::Serialize;

/// Text that is written when somebody first reads it.
pub(super) struct Later {
    /// How long the text may be, in bytes.
    bytes_max: usize,
    /// The text. The first reader writes it.
    text: LazyLock<String, Write>,
}

type Write = Box<dyn FnOnce() -> String + Send>;

impl Later {
    /// Takes a value whose text has at most so many bytes, or as many as an error has.
    pub(super) fn new(value: impl Serialize + Send + 'static, bytes_max: usize) -> Self {
        let bytes_max = bytes_max.max(ERROR_BYTES_MAX);
        let value = Contained(Some(value));
        let write = move || match value.write() {
            Some(text) if text.len() <= bytes_max => text,
            Some(_) => TOO_LONG.to_owned(),
            None => NO_JSON.to_owned(),
        };
        Self { bytes_max, text: LazyLock::new(Box::new(write) as Write) }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) const fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

/// A foreign value whose panics are contained: a panic while it is written would poison the text
/// for every other reader, and a panic of its destructor would reach the thread that drops it.
struct Contained<T>(Option<T>);

impl<T: Serialize> Contained<T> {
    /// Yields the JSON; none if there is none, or the value panics.
    fn write(&self) -> Option<String> {
        contained(|| serde_json::to_string(&self.0).ok()).flatten()
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        contained(|| drop(value));
    }
}

/// Calls foreign code; none if it panics. What it panics with is foreign too, down to its
/// destructor.
fn contained<T>(code: impl FnOnce() -> T) -> Option<T> {
    let panic = match catch_unwind(AssertUnwindSafe(code)) {
        Ok(value) => return Some(value),
        Err(panic) => panic,
    };
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        #[expect(clippy::mem_forget, reason = "a destructor that panics is not asked twice")]
        std::mem::forget(again);
    }
    None
}

/// What is written of a value that is longer than it was said to be.
const TOO_LONG: &str = r#"{"error":"value is longer than it was said to be"}"#;

/// What is written of a value that cannot be JSON.
pub(super) const NO_JSON: &str = r#"{"error":"value cannot be written as JSON"}"#;

/// Neither of them is longer.
const ERROR_BYTES_MAX: usize = 64;
