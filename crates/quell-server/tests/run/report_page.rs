//! The page of `quell help report` says what is so. That it has every field is proved in
//! `quell-tests`.

use serde_json::Value;

use crate::support::{Scratch, assert_help_is_page, page};

#[test]
fn the_help_is_the_page() {
    assert_help_is_page("report");
}

/// Replaces what is different in every run: ids, times and texts that have digits.
pub(crate) fn plain(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(|c: char| c.is_ascii_digit()) => "…".clone_into(text),
        Value::Array(all) => all.iter_mut().for_each(plain),
        Value::Object(all) => all.values_mut().for_each(plain),
        _ => {}
    }
}

#[test]
fn the_example_is_what_is_written() {
    let page = page("report");
    let (_, example) = page.split_once("## An example").expect("an example");
    let (command, example) = example.split_once("```json\n").expect("its JSON");
    let example = example.split_once("```").expect("an end").0;
    assert!(command.contains("`quell run --report report.json -- sh -c 'echo done'`"));
    let scratch = Scratch::new();
    let run = ["run", "--report", "report.json", "--", "sh", "-c", "echo done"];
    scratch.run(&run).assert_code(0);
    let written = scratch.read("report.json");
    let [mut written, mut shown] = [&*written, example.as_bytes()]
        .map(|text| serde_json::from_slice::<Value>(text).expect("JSON"));
    plain(&mut written);
    plain(&mut shown);
    assert_eq!(written, shown);
}
