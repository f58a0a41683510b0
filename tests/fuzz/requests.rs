//! The fuzz target `requests`: `.ci/fuzz requests`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quell_fuzz::requests(bytes));

#[cfg(not(fuzzing))]
#[expect(clippy::print_stderr, reason = "this is all it has to say")]
fn main() {
    eprintln!("this build is not instrumented: start `.ci/fuzz requests`");
}
