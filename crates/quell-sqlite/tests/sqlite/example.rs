//! The example says what happens.

use std::sync::Mutex;

use crate::fixture::Folder;

/// What was printed.
static PRINTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Shadows the macro of the standard library in the module below, and keeps each line.
macro_rules! println {
    ($($words:tt)*) => { super::PRINTED.lock().unwrap().push(format!($($words)*)) };
}

#[expect(dead_code, reason = "here nobody calls its `main`")]
#[path = "../../examples/paused_run.rs"]
mod paused_run;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_asked_goes_on_from_what_it_saved_in_a_later_engine() {
    let folder = Folder::new();
    paused_run::ask_and_answer(&folder.file("runs.db")).await.unwrap();
    let expected = [
        "left by an earlier process: 0 paused",
        "attempt 1 begins, 0 pages are copied",
        r#"it asks "may I copy the last page?""#,
        "left by an earlier process: 1 paused",
        "attempt 2 begins, 2 pages are copied",
        r#"it is completed, and has said "all pages are copied""#,
    ];
    assert_eq!(*PRINTED.lock().unwrap(), expected);
}
