//! What must be true of every text and every byte that comes from outside.
//!
//! Each function panics when it is not. `.ci/fuzz` looks for inputs that make it panic, guided by
//! coverage; an input that was found goes into a test below, in words.
#![expect(clippy::panic, reason = "a fuzz target fails by a panic")]

mod served;

use std::thread;

use quell::{Payload, limits};
use quell_flow::testing::render_template;
use quell_flow::{Plan, PlanError};

pub use served::requests;

/// Plans, as TOML, as JSON and as YAML: a text is refused with a place in it, or yields a plan that
/// its own JSON yields again, read as JSON and as YAML.
///
/// # Panics
///
/// Panics when that is not so.
pub fn plans(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for read in [Plan::from_toml, Plan::from_json, Plan::from_yaml] {
        match read(text) {
            Ok(plan) => assert_same(&plan),
            Err(error) => assert_placed(&error, text),
        }
    }
}

fn assert_same(plan: &Plan) {
    let json = serde_json::to_string(plan).unwrap_or_else(|error| panic!("{error}: {plan:#?}"));
    // JSON is YAML as well.
    for read in [Plan::from_json, Plan::from_yaml] {
        match read(&json) {
            Ok(again) => assert_eq!(&again, plan, "{json}"),
            Err(error) => panic!("{error}: {json}"),
        }
    }
}

fn assert_placed(error: &PlanError, text: &str) {
    assert!(!error.message().trim().is_empty(), "a refusal has words: {error:?}");
    // A carriage return ends a line too, alone or before a newline.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (lines, line) = (text.split('\n').count(), error.line().unwrap_or(1));
    assert!((1..=lines).contains(&line), "{error} is beyond line {lines}");
    let longest = text.split('\n').map(|line| line.chars().count()).max().unwrap_or(0);
    let column = error.column().unwrap_or(1);
    // One beyond the line is its end, two beyond it is that of a carriage return and a newline.
    assert!((1..=longest + 2).contains(&column), "{error} is beyond column {longest}");
}

/// Lines of a process: two bytes say how they are read and how often they are repeated, the rest is
/// what the program writes. Events do not depend on how it is read, but for lines that are joined;
/// those say the same. Nothing is lost, and each event is within its bound.
///
/// # Panics
///
/// Panics when that is not so.
pub fn lines(bytes: &[u8]) {
    let [chunk, repeat, rest @ ..] = bytes else { return };
    let stdout = rest.repeat(1 << (repeat % 10));
    let stdout = &stdout[..stdout.len().min(STDOUT_BYTES_MAX)];
    let events = quell_process::testing::events_of(stdout, stdout.len());
    let in_chunks = quell_process::testing::events_of(stdout, usize::from(*chunk) * 64 + 1);
    assert!(events == in_chunks, "events depend on how lines are read");
    let ends = events.iter().filter(|event| ends_a_line(event)).count();
    let lines = stdout.split_inclusive(|byte| *byte == b'\n').count();
    assert_eq!(ends, lines, "{events:?}");
    for chunk in [stdout.len(), usize::from(*chunk) * 64 + 1] {
        let joined = quell_process::testing::joined_events_of(stdout, chunk);
        assert!(joined.len() <= events.len(), "{} events of {}", joined.len(), events.len());
        assert!(said(&joined) == said(&events), "joined lines say something else");
        let is_few = |part: &[u8]| part.split(|byte| *byte == b'\n').count() <= 16;
        let are_few = stdout.chunks(chunk.max(1)).all(is_few);
        assert!(!are_few || joined == events, "a few lines were joined");
    }
}

/// What events say, one after the other: the text of lines, whether something of it was replaced,
/// and objects with `event` as they are.
fn said(events: &[Payload]) -> (Vec<String>, bool) {
    let (mut all, mut is_lossy) = (vec![String::new()], false);
    for event in events {
        let whole = ends_a_line(event);
        let value: serde_json::Value = event.parse().unwrap_or_default();
        let Some(line) = value["line"].as_str().filter(|_| value.get("event").is_none()) else {
            all.extend([event.to_string(), String::new()]);
            continue;
        };
        is_lossy |= value.get("lossy").is_some();
        if let Some(last) = all.last_mut() {
            last.push_str(line);
            last.push_str(if whole { "\n" } else { "" });
        }
    }
    (all, is_lossy)
}

/// Expressions: the first byte says what they read, the rest is the expression, also as one of two
/// in a template. It is refused, fails or yields a bounded text, on a stack as small as a worker's,
/// and the language does not panic; `.ci/fuzz` bounds the memory.
///
/// # Panics
///
/// Panics when that is not so.
pub fn expressions(bytes: &[u8]) {
    let [input, text @ ..] = bytes else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    let input = inputs(*input);
    for template in [format!("{{{{ {text} }}}}"), format!("a {{{{-{text}}}}} b {{{{ input }}}}")] {
        let input = input.clone();
        let evaluate = move || match render_template(&template, &input) {
            Ok(text) => {
                let max = quell_flow::limits::TEMPLATE_BYTES_MAX;
                assert!(text.len() <= max, "{} bytes from {template}", text.len());
            }
            Err(words) => {
                assert!(!words.trim().is_empty(), "no words for {template}");
                // It was caught, and is a fault all the same.
                assert!(!words.contains("language panicked"), "{words}: {template}");
            }
        };
        let worker = thread::Builder::new().stack_size(WORKER_STACK).spawn(evaluate);
        let worker = worker.unwrap_or_else(|error| panic!("no thread: {error}"));
        // Its panic is this one's.
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

/// What an expression reads: small, long, wide or deep.
fn inputs(which: u8) -> Payload {
    let text = match which % 6 {
        0 => "null".to_owned(),
        1 => r#"{"a":[1,2.5,"x",null,true,{"b":"c"}],"n":7,"s":"a b\nc"}"#.to_owned(),
        2 => format!("\"{}\"", "ab ".repeat(100_000)),
        3 => format!("[{}0]", "1,".repeat(50_000)),
        4 => format!("{}{}", "[".repeat(100), "]".repeat(100)),
        _ => format!("[{}\"x\"]", "\"some words\",".repeat(20_000)),
    };
    Payload::from_json_text(&text).unwrap_or_else(|error| panic!("an input is no JSON: {error}"))
}

/// Tells whether an event is a whole line, or the last piece of one.
fn ends_a_line(event: &Payload) -> bool {
    assert!(event.len() <= limits::EVENT_BYTES_MAX, "an event of {} bytes", event.len());
    let text = event.to_string();
    let value: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(value.is_object(), "{text}");
    value.get("event").is_some() || value.get("split").is_none()
}

/// Enough for lines that are split, and fast.
const STDOUT_BYTES_MAX: usize = 300_000;

/// What tokio gives a worker.
const WORKER_STACK: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use quell_test_support::seeds;

    use super::{expressions, lines, plans};

    #[test]
    fn expressions_of_the_corpus_are_refused_fail_or_are_bounded() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("expressions");
        let files = || fs::read_dir(&corpus).unwrap().map(|file| fs::read(file.unwrap().path()));
        assert!(files().count() > 10, "{corpus:?}");
        for (_seed, mut rng) in seeds(1) {
            for bytes in files() {
                // One of the inputs that there are; they take long without optimisation.
                expressions(&[&[rng.u8(0..6)], &bytes.unwrap()[1..]].concat());
            }
        }
    }

    #[test]
    fn texts_that_are_no_plans_are_refused_with_a_place() {
        for text in [
            "",
            "{",
            "\u{feff}",
            "name = \"a\"\r\nsteps = 1\r\n",
            "[[",
            "[]",
            "\n\n{\"name\"",
            "name: &a x\nsteps: *a\n",
            "? [\u{fc}]\r\n: |\r\n",
            "name: a\r\rsteps: b\rc",
            "--- |+\n\n\u{2028}...\n--- {",
        ] {
            plans(text.as_bytes());
        }
    }

    #[test]
    fn plans_are_what_their_json_says() {
        plans(include_bytes!("../../crates/quell-server/plans/tour.toml"));
        plans(include_bytes!("../../crates/quell-server/plans/release.yaml"));
        plans(b"name: a\nsteps:\n- name: b\n  run: ['true', \"\\x7f\\u2028\"]\n");
        plans(br#"{"name":"a","timeout":"1ms","steps":[{"name":"b","run":["true"]}]}"#);
    }

    #[test]
    fn lines_of_all_lengths_become_events() {
        for repeat in 0..10 {
            lines(&[&[3, repeat], &b"{\"event\":1}\nx\xff\n\n"[..]].concat());
            lines(&[&[0, repeat], "ü\u{1}".repeat(999).as_bytes()].concat());
        }
    }

    #[test]
    fn lines_that_are_joined_say_what_they_said_apart() {
        let many = ["a\n".repeat(40), "\n".repeat(40), "\u{1}".repeat(2_000) + "\n"];
        for text in [&many.concat(), "{\"event\":1}\n\nplain\n", &many[2], "ü\r\nü"] {
            for (chunk, repeat) in [(255, 0), (255, 5), (3, 6), (0, 4), (128, 9)] {
                lines(&[&[chunk, repeat], text.as_bytes()].concat());
                lines(&[&[chunk, repeat], text.as_bytes(), b"\xf0\x9f", &[b'\n'; 20]].concat());
            }
        }
    }
}
