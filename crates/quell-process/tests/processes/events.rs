//! What a process writes, as events.

use quell::{EventKind, Outcome, RunSpec};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Scratch, events_of, script, start};

#[tokio::test]
async fn every_line_is_an_event() {
    let events = events_of(script("echo one; echo; printf 'two\r\nthree'")).await;
    let lines = ["one", "", "two\r", "three"];
    assert_eq!(events, lines.map(|line| json!({"stream": "stdout", "line": line})));
}

#[tokio::test]
async fn stderr_is_told_from_stdout() {
    let events = events_of(script("echo one >&2")).await;
    assert_eq!(events, [json!({"stream": "stderr", "line": "one"})]);
}

#[tokio::test]
async fn a_json_object_with_an_event_is_emitted_as_it_is() {
    let text = r#"echo '{"event":"saved","path":"a.txt"}'; echo '{"path":"b.txt"}'"#;
    let events = events_of(script(text)).await;
    assert_eq!(events[0], json!({"event": "saved", "path": "a.txt"}));
    assert_eq!(events[1], json!({"stream": "stdout", "line": r#"{"path":"b.txt"}"#}));
}

#[tokio::test]
async fn a_line_of_200_kib_is_split_and_marked() {
    let line = "0123456789abcdef".repeat(200 << 6);
    let mut events = events_of(script("cat; echo; echo next").input(line.as_str())).await;
    assert_eq!(events.pop().unwrap(), json!({"stream": "stdout", "line": "next"}));
    let last = events.len() - 1;
    assert_eq!(last, 3);
    for (nth, event) in events.iter().enumerate() {
        assert_eq!(event.get("split"), (nth < last).then_some(&json!(true)));
    }
    let joined: String = events.iter().map(|event| event["line"].as_str().unwrap()).collect();
    assert_eq!(joined, line);
}

#[tokio::test]
async fn binary_output_does_no_harm() {
    let noise: Vec<u8> = (0..300_000_u64).map(|nth| (nth * nth / 7).to_le_bytes()[0]).collect();
    let zeros = vec![0; 100 << 10];
    for bytes in [noise, zeros] {
        let events = events_of(script("cat").input(bytes)).await;
        assert!(events.iter().all(|event| event["line"].is_string()));
    }
    let events = events_of(script(r"printf 'a\377b\n'")).await;
    assert_eq!(events, [json!({"stream": "stdout", "line": "a\u{fffd}b", "lossy": true})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_never_stops_talking_can_be_stopped() {
    let scratch = Scratch::new("chatty");
    let process = script("echo $$ > pid; exec yes").cwd(scratch.path()).output_bytes_max(1_000);
    let started = start(RunSpec::step("chatty").grace(PATIENCE), process);
    let pid = scratch.pid("pid").await;
    let mut events = started.run().events();
    // So much is over the bound, whether every line is seen or some are missed.
    while events.next().await.expect("it goes on").seq < 1_000 {}
    let (partial, report) = started.stop().await;
    assert_eq!(partial.unwrap().signal, Some(15));
    assert!(pid.is_gone());
    let partial: Value = report.partial.as_ref().unwrap().parse().unwrap();
    assert_eq!(partial["stdout_truncated"], true);
    assert_eq!(partial["stdout"], "y\n".repeat(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_keeps_up_misses_no_line_of_a_chatty_program() {
    let started = start(RunSpec::step("chatty"), script("seq 1 500000"));
    let mut events = started.run().events();
    let (mut next, mut read) = (1, 0);
    while let Some(event) = events.next().await {
        match event.kind {
            EventKind::Emitted(payload) => {
                let event: Value = payload.parse().unwrap();
                for line in event["line"].as_str().unwrap().split('\n') {
                    assert_eq!(line.parse(), Ok(next), "after {read} events");
                    next += 1;
                }
                read += 1;
                // It has something else to do as well.
                tokio::task::yield_now().await;
            }
            EventKind::Lagged { from, to } => panic!("{from} to {to} are lost after {next} lines"),
            _ => {}
        }
    }
    assert_eq!(next, 500_001);
    drop(started);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_holds_a_program_up_for_a_while_only() {
    let started = start(RunSpec::step("chatty"), script("seq 1 1500000").output_bytes_max(0));
    let mut events = started.run().events();
    let (outcome, _) = started.end().await;
    assert!(matches!(outcome, Outcome::Completed(_)));
    let mut is_marked = false;
    while let Some(event) = events.next().await {
        is_marked |= matches!(event.kind, EventKind::Lagged { .. });
    }
    assert!(is_marked, "what is lost is marked");
}
