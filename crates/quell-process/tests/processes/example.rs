//! The example says what happens.

use std::sync::Mutex;

/// What was printed.
static PRINTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Shadows the macro of the standard library in the module below, and keeps each line.
macro_rules! println {
    ($($words:tt)*) => { super::PRINTED.lock().expect("nobody panics").push(format!($($words)*)) };
}

#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../../examples/stopped_program.rs"]
mod stopped_program;

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_stopped_says_its_last_words_and_nothing_is_left() {
    stopped_program::stop().await.expect("it is started");
    let lines = PRINTED.lock().expect("nobody panics");
    for (at, line) in lines[..3].iter().enumerate() {
        assert_eq!(*line, format!(r#"{{"stream":"stdout","line":"tick {}"}}"#, at + 1));
    }
    assert_eq!(lines[3], "quiescent: true, abandoned: 0");
    assert!(lines[4].starts_with("clock is cancelled"), "{lines:?}");
    assert!(lines[5].starts_with("sh is cancelled"), "{lines:?}");
    assert!(lines[5].contains("last words"), "{lines:?}");
    assert_eq!(lines.len(), 6);
}
