//! The page of `quell help events` says what is so. That it has every kind is proved in
//! `quell-tests`.

use serde_json::Value;

use crate::report_page::plain;
use crate::support::{Scratch, page};

#[test]
fn the_help_says_how_it_is_called_and_ends_with_the_page() {
    let scratch = Scratch::new();
    let own = page("events");
    for args in [&["help", "events"][..], &["events", "--help"]] {
        let ended = scratch.run(args);
        ended.assert_code(0);
        let (usage, page) = ended.stdout.split_once("\n# The events").expect("a page");
        assert!(usage.contains("Usage: quell events [OPTIONS] [RUN]"), "{usage}");
        assert!(usage.contains("--store <FILE | URL>") && usage.contains("--json"), "{usage}");
        assert!(own.trim_end().ends_with(page.trim_end()), "{page}");
    }
    assert_eq!(scratch.run(&["events"]).stdout.trim_end(), own.trim_end());
    assert!(Scratch::new().run(&["run", "--help"]).stdout.contains("`quell help events`"));
}

#[test]
fn the_example_is_what_is_written() {
    let page = page("events");
    let (_, example) = page.split_once("## An example").expect("an example");
    let (command, example) = example.split_once("```json\n").expect("its lines");
    let example = example.split_once("```").expect("an end").0;
    assert!(command.contains("`quell run --json -- sh -c 'echo done'`"));
    let ended = Scratch::new().run(&["run", "--json", "--", "sh", "-c", "echo done"]);
    ended.assert_code(0);
    let read = |line| serde_json::from_str(line).expect("JSON");
    let [written, shown] = [&*ended.stdout, example].map(|text| {
        let mut events: Vec<Value> = text.lines().map(read).collect();
        events.iter_mut().for_each(plain);
        events
    });
    assert_eq!(written, shown);
}
